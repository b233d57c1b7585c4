"""Improved GAN with feature matching (Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen 2016, "Improved
Techniques for Training GANs", sections 3.1 and 5, whose equations have no numbers; settings from its code,
openai/improved-gan at 4f5d1ec).

    L_D = -E log p(y | x, real) + 1/2 E[-log D(x_unl)] + 1/2 E[-log(1 - D(G(z)))]
    L_G = distance of E f(G(z)) and E f(x_unl), f the last hidden layer (squared for the MLP, absolute for conv nets)

Two terms that are not the paper's are defaults of Digits alone, where without them a few labels that lie badly can give
a whole cluster of a digit to another class (figure/result/LOG.md). With --consistency W, L_D also has
W mean (p - p')^2, p = p(y | x_unl, real), p' that of a second pass with other noise, whose images --warp moves, turns,
scales and shears a little at random (the transformation/stability term of Sajjadi, Javanmardi, Tasdizen 2016,
"Regularization With Stochastic Transformations and Perturbations for Deep Semi-Supervised Learning"). With --balance W,
which is ours, W (log K - H[E p]): the unlabelled images of both passes are to be spread evenly over the classes, as the
labelled ones are.

With --teacher, p is what the averaged weights say of the image without noise, and has no gradient; --ramp_up lets W
rise as exp(-5 (1 - t/T)^2) (both after Tarvainen & Valpola 2017, recipes/mean_teacher.py); --warp_labelled warps the
labelled images, too. With these three MNIST has fewer errors after minutes than with the published loss (README.md); a
weight that is large before the classes have formed fixes wrong ones.

ImprovedGAN-pytorch (Sleepychord at 8aca302), which is the same for MNIST, differs in kind by --no_data_init (every
scale starts at 1, the frozen ones stay there), --generator_output softplus, --adam_eps outside (as PyTorch has it) and
--again_above 1 (another update of G after one whose loss was over 1). As its README has it (its default: 10 epochs):

    --dataset MNIST --epochs 100 --decay_from 1 --average 0 --learning_rate_g 0.003 --precision float32
    --no_data_init --generator_output softplus --adam_eps outside --again_above 1

Its --unlabel-weight W is --weight D/real=W D/fake=W. Its labelled batches are of a pile of copies of the labelled
images, so that one batch misses some of them and has others twice; here they are shown in turn. G's walk of its own
through the unlabelled images, which hold the labelled ones, is here always. Its SGD for D (before 28 November 2017) and
its branch for a table are not here.

Where this differs from the code, and why:
- the averaged weights are bias-corrected; the code starts them at zero, which shrinks biases for the first epochs;
- the default schedules of Digits, MNIST and Fashion are short, for a CPU: the learning rates fall to 0 over the second
  half, the average is shorter, and the generator's rate is 0.001 (as for MNIST in ssl_bad_gan), with which the
  classifier improves sooner. The published MNIST schedule: --epochs 300 --decay_from 1 --average 0.9999
  --learning_rate_g 0.003;
- the output layer of the MLP generator starts as N(0, 0.1^2), as in ssl_bad_gan, not uniform after Glorot: with the
  short schedule a generator that started so was lost against the discriminator (figure/result/LOG.md);
- products and convolutions are in bfloat16 where the hardware has it; --precision float32 is the original's arithmetic;
- Digits and Circles are not published data sets: their networks are smaller (models/mlp.py), their settings ours.
"""
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

import losses
import ops
from config import Config, GanConfig, Share, Spec, UserError, Within

from .player import Loss, Player, Recipe

CITATION = "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498"
MLP = {"model": "mlp", "learning_rate_d": 3e-3, "learning_rate_g": 3e-3}
SHORT = {"learning_rate_g": 1e-3, "decay_from": 0.5, "average": 0.995}
CONV = {"model": "conv-small", "learning_rate_d": 3e-4, "learning_rate_g": 3e-4, "decay_from": 2 / 3}
PUBLISHED = {
    "Digits": {**MLP, **SHORT, "learning_rate_d": 6e-3, "learning_rate_g": 3e-3, "labels": 50, "batch_size": 50,
               "epochs": 125.0},
    "Circles": {**MLP, **SHORT, "learning_rate_g": 3e-3, "labels": 6, "epochs": 30.0},
    "MNIST": {**MLP, **SHORT, "labels": 100, "epochs": 40.0},
    "Fashion": {**MLP, **SHORT, "labels": 100, "epochs": 40.0},
    "SVHN": {**CONV, "labels": 1000, "epochs": 900.0},
    "CIFAR10": {**CONV, "labels": 4000, "epochs": 1200.0},
}
EXTRA = {"Digits": {"consistency": 5.0, "warp": 0.15, "balance": 0.3}}


@dataclasses.dataclass(frozen=True)
class Settings(GanConfig):
    """Two terms that are not the paper's, and the variations of a port to PyTorch."""

    consistency: Annotated[float, Within(0)] = 0.0
    """Weight of the distance between the class probabilities of two passes of an unlabelled image (0: left out)."""
    warp: Share = 0.0
    """How far the images of the second pass of --consistency and --balance are moved, turned, scaled and sheared:
    each at random, by up to this share of half an image's side."""
    warp_labelled: bool = False
    """Warp the labelled images as far as --warp says, too."""
    teacher: bool = False
    """With --consistency, compare with the prediction of the averaged weights, not with that of the first pass."""
    ramp_up: Share = 0.0
    """Share of the training over which the weight of --consistency rises (0: it does not)."""
    balance: Annotated[float, Within(0)] = 0.0
    """Weight of the term that spreads unlabelled images evenly over the classes (0: left out)."""
    data_init: bool = True
    """Begin with the data-dependent initialisation (no: scales of 1, biases of 0)."""
    generator_output: Literal["sigmoid", "softplus"] = "sigmoid"
    """Output activation of the generator (--model mlp)."""
    adam_eps: Literal["inside", "outside"] = "inside"
    """Where Adam adds its eps of 1e-8: inside the square root, or outside it as PyTorch does."""
    again_above: Annotated[float, Within(0)] = 0.0
    """Loss of the generator above which it makes another update with the same unlabelled images (0: never).
    From the third epoch on."""


def published(spec: Spec) -> dict:
    """Settings for a data set, which recipes that build on this one share; one without published settings takes
    conv-small where its size allows."""
    height, width, _ = spec.shape
    conv = not (height % 8 or width % 8) and min(height, width) >= 16
    other = {**CONV, "epochs": 200.0} if conv else {**MLP, **SHORT, "epochs": 100.0}
    return PUBLISHED.get(spec.name, {**other, "labels": 10 * spec.classes})


def terms(y: Tensor, labelled: ops.Verdict, real: ops.Verdict, fake: ops.Verdict) -> dict[str, Tensor]:
    """Those of L_D, from the verdicts on the three kinds of images."""
    return {"supervised": losses.cross_entropy(labelled.classes, y),
            "real": 0.5 * losses.taken_for_real(real.real),
            "fake": 0.5 * losses.taken_for_fake(fake.real)}


def discriminator(nets, b):
    return terms(b.y_lab, *ops.verdicts(nets["D"], [b.x_lab, b.x_unl], ops.sample(nets["G"], b.z)))


ON_TWO_PASSES = {
    "consistency": lambda first, second: losses.probability_distance(first.classes, second.classes),
    "feature_consistency": lambda first, second: losses.feature_distance(first.features, second.features),
    "balance": lambda first, second: losses.unevenness(torch.cat([first.classes, second.classes]))}


def on_two_passes(nets, b, factors: Mapping[str, float], warp: float = 0.0, warp_labelled: bool = False,
                  teacher: bool = False, rise: float = 0.0):
    """L_D and, times their factors, terms on two passes of the unlabelled images, which differ by D's noise and by a
    warp of the second one's images. The consistency's weight rises over `rise` steps; the averaged weights, without
    noise, take the first pass's place in it if `teacher`."""
    again = ops.warped(b.x_unl, warp) if warp else b.x_unl
    x_lab = ops.warped(b.x_lab, warp) if warp_labelled else b.x_lab
    labelled, real, second, fake = ops.verdicts(nets["D"], [x_lab, b.x_unl, again], ops.sample(nets["G"], b.z))
    first = dict.fromkeys(factors, real)
    if teacher:
        with torch.no_grad():
            first["consistency"] = nets["averaged"].eval()(b.x_unl)
    found = {name: factor * ON_TWO_PASSES[name](first[name], second) for name, factor in factors.items()}
    if rise:
        found["consistency"] = losses.ramped_up(b.step, rise) * found["consistency"]
    return {**terms(b.y_lab, labelled, real, fake), **found}


def generator(nets, b, norm):
    D, G = nets["D"], nets["G"]
    fake, real = ops.features(D, G(b.z), b.x_unl)
    return {"feature_matching": losses.feature_matching(fake, real, norm)}


def on_mlp(cfg: Config) -> bool:
    """Whether the network is one for which the MNIST code is the model, not the code of SVHN and CIFAR-10."""
    return cfg.model.startswith("mlp")


def game(cfg: GanConfig, discriminator: Loss, d_terms: tuple[str, ...], generator: Loss, g_terms: tuple[str, ...],
         adam: Callable[..., Optimizer] = ops.Adam) -> tuple[Player, Player]:
    """Two players with the code's optimiser, or another Adam."""
    adam = partial(adam, betas=(0.5, 0.999))
    return (Player("D", ("D",), d_terms, discriminator, partial(adam, lr=cfg.learning_rate_d)),
            Player("G", ("G",), g_terms, generator, partial(adam, lr=cfg.learning_rate_g)))


def plain(cfg: GanConfig, adam: Callable[..., Optimizer] = ops.Adam) -> tuple[Player, Player]:
    """The players of the paper."""
    return game(cfg, discriminator, ("supervised", "real", "fake"),
                partial(generator, norm=2 if on_mlp(cfg) else 1), ("feature_matching",), adam)


def with_terms(D: Player, factors: Mapping[str, float], **options: float) -> Player:
    """The discriminator's player with those terms on two passes; the options are those of on_two_passes."""
    return D._replace(terms=(*D.terms, *factors), loss=partial(on_two_passes, factors=factors, **options))


def too_large(total: Tensor, step: Tensor, above: float, begin: float) -> Tensor:
    """Whether the generator is to make another update."""
    return (total > above) & (step >= begin)


def check(cfg: Settings) -> None:
    """UserError for a setting that the networks do not have."""
    if cfg.generator_output != "sigmoid" and cfg.model != "mlp":
        raise UserError(f"--generator_output {cfg.generator_output}: --model {cfg.model} has no such output; "
                        "use --model mlp")
    if not cfg.data_init and cfg.model.endswith("-minibatch"):
        raise UserError(f"--no_data_init: --model {cfg.model} takes the images with which it compares others from the "
                        "data-dependent initialisation; leave it out")
    if not cfg.consistency and (cfg.warp_labelled or cfg.teacher or cfg.ramp_up):
        raise UserError("--warp_labelled, --teacher, --ramp_up: they need a consistency; give --consistency a weight")
    if cfg.warp_labelled and not cfg.warp:
        raise UserError("--warp_labelled: --warp says how far, and is 0; use --warp 0.15")
    if cfg.teacher and not cfg.average:
        raise UserError("--teacher: the averaged weights are the teacher, and --average is 0; use --average 0.995")
    usual = EXTRA.get(cfg.dataset, {}).get("warp", 0.0)  # nobody asked for that one, so it is not refused
    if cfg.warp not in (0, usual) and not cfg.consistency and not cfg.balance:
        raise UserError(f"--warp {cfg.warp}: it is of the second pass that --consistency and --balance make, and both "
                        "are 0; give one of them, or leave it out")


def players(cfg: Settings) -> tuple[Player, Player]:
    check(cfg)
    D, G = plain(cfg, ops.Adam if cfg.adam_eps == "inside" else partial(torch.optim.Adam, fused=True))
    if factors := {name: weight for name in ("consistency", "balance") if (weight := getattr(cfg, name))}:
        D = with_terms(D, factors, warp=cfg.warp, warp_labelled=cfg.warp_labelled, teacher=cfg.teacher,
                       rise=cfg.ramp_up * cfg.steps)
    if cfg.again_above:
        G = G._replace(again=partial(too_large, above=cfg.again_above, begin=round(2 * cfg.steps / cfg.epochs)))
    return D, G


def init_images(cfg: Config) -> str:
    return "pool" if on_mlp(cfg) else "labelled"


def own(spec: Spec) -> dict:
    return {**published(spec), **EXTRA.get(spec.name, {})}


RECIPE = Recipe("improved-gan", CITATION, Settings, own, players,
                init_images=lambda cfg: init_images(cfg) if cfg.data_init else None)
