"""Bad GAN (Dai, Yang, Yang, Cohen, Salakhutdinov 2017, "Good Semi-supervised Learning that Requires a Bad GAN",
arXiv:1705.09783; settings from its code, kimiyoung/ssl_bad_gan at 2863f0a): a generator whose images are spread out
around the data, not on it, lets D draw its boundaries where the data are thin.

    L_D = -E log p(y | x, real) + 1/2 E[-log D(x_unl)] + 1/2 E[-log(1 - D(G(z)))] + entropy * E H(p(y | x_unl, real))
    L_G = distance of E f(G(z)) and E f(x_unl)                  (FM: squared for the MLP, absolute for conv nets)
          + pull_away * mean of cos^2(f(G(z_i)), f(G(z_j)))     (PT: spreads G's images over D's features)
          + variational * E[-log q_E(z | G(z))]                 (VI: an encoder E finds z again; G and E minimise it)
          + low_density * E max(log p(G(z)) - epsilon, 0)       (LD: drives G's images off what is likely)

SVHN is FM + PT + ENT, CIFAR-10 is FM + VI, MNIST is FM + LD. The term LD is there with `--density RUN` alone, where RUN
is a run of --recipe pixelcnn on the same data set (the authors' PixelCNN++ is no longer to be had); without it MNIST is
FM. The density p is frozen; G's pixels are not rounded for it. epsilon is the quantile 0.1 of log p of up to 10,000
unlabelled training images, chosen once, at the start (engine/density.py).

Where this differs from the code, and why:
- epsilon is taken from training images; there, from the test images;
- LD is computed in each update, of 3 of its images, with a weight of 0.00001; in the code in one update of ten, drawn
  at random, of 30 images more with 0.0001. The expected gradient is the same but that LD is a mean over all of those
  images, as in the paper, and there over those above epsilon. It acts from the start; there, after 9,000 of 1.2 million
  updates;
- nothing is selected on the test set; the code reports its smallest test error. As there, no average of the weights;
- labelled images stay in the unlabelled pool of MNIST too, where the code removes them;
- G's unlabelled images are not those of D's update, which SVHN and CIFAR-10 use again, and G is fitted to one batch of
  z (ops.data_init), there to several;
- SVHN's rates fall to 0; there they stay at 0.0001 from the last tenth of their fall on, and training does not end;
- the MLP pair is improved_gan.py's: batch norm without a gain that always takes batch statistics, Glorot's weights in G
  and no eps in D's weight norm, where the code has torch's own and 1e-6; sigma has no 1e-8 added to it;
- the schedules of Digits, MNIST and Fashion are ours, short, for a CPU: 40 epochs of MNIST, where the code has 2000
  (--epochs 2000 --decay_from 0.6667). Digits and Fashion are not in the code; they take MNIST's settings;
- data sets without published settings take CIFAR-10's where its networks fit, else MNIST's.
"""
import dataclasses
from functools import partial
from typing import Annotated

import torch

import losses
import ops
from config import GanConfig, Spec, Within

from . import improved_gan
from .player import Player, Recipe

CITATION = "Dai et al. 2017, Good Semi-supervised Learning that Requires a Bad GAN, arXiv:1705.09783"
MLP = {"model": "mlp", "learning_rate_d": 3e-3, "learning_rate_g": 1e-3, "decay_from": 0.5}
CONV = {"model": "conv-badgan", "decay_from": 2 / 3}
SVHN = {**CONV, "learning_rate_d": 1e-3, "learning_rate_g": 1e-3, "batch_size": 64, "pull_away": 0.8, "entropy": 0.1}
JUDGED = 3  # of a batch's generated images, by the density
CIFAR10 = {**CONV, "learning_rate_d": 6e-4, "learning_rate_g": 3e-4, "variational": 0.01}


@dataclasses.dataclass(frozen=True)
class Settings(GanConfig):
    """Weights of the terms that are not in every variant; a term of weight 0 is left out."""

    pull_away: Annotated[float, Within(0)] = 0.0
    """Weight of the pull-away term, which keeps the features of generated images apart."""
    entropy: Annotated[float, Within(0)] = 0.0
    """Weight of the entropy of the classes of unlabelled images, in the discriminator's loss."""
    variational: Annotated[float, Within(0)] = 0.0
    """Weight of the encoder's -log q(z | G(z)); not 0, it needs a model with an encoder."""
    density: str = ""
    """Run of --recipe pixelcnn on this data set, or a model-<step>.pt of it: adds the low-density term."""
    low_density: Annotated[float, Within(0)] = 1e-5
    """Weight of that term."""


def published(spec: Spec) -> dict:
    """Settings for a data set; the numbers of labels and of epochs are those of improved-gan."""
    found = improved_gan.published(spec)
    kind = {"SVHN": SVHN}.get(spec.name, CIFAR10) if found["model"] == "conv-small" else MLP
    return {"labels": found["labels"], "epochs": found["epochs"], "average": 0.0, **kind}


def discriminator(nets, b, entropy):
    D, G = nets["D"], nets["G"]
    labelled, real, fake = ops.verdicts(D, [b.x_lab, b.x_unl], ops.sample(G, b.z))
    terms = improved_gan.terms(b.y_lab, labelled, real, fake)
    return {**terms, "entropy": entropy * losses.conditional_entropy(real.classes)} if entropy else terms


def generator(nets, b, norm, pull_away, variational, low_density):
    D, generated = nets["D"], nets["G"](b.z)
    fake, real = ops.features(D, generated, b.x_unl)
    terms = {"feature_matching": losses.feature_matching(fake, real, norm)}
    if pull_away:
        terms["pull_away"] = pull_away * losses.pull_away(fake)
    if variational:
        terms["variational"] = variational * losses.gaussian_nll(b.z, *nets["E"](generated))
    if density := nets.get("density"):
        log_p = density(generated[:JUDGED])
        terms["low_density"] = low_density * losses.above_threshold(log_p, density.threshold)
    return terms


def players(cfg: Settings) -> tuple[Player, Player]:
    mlp = improved_gan.on_mlp(cfg)
    adam = partial(torch.optim.Adam, fused=True)
    beta2 = 0.9999 if mlp else 0.999
    d_terms = ("supervised", "real", "fake", *(["entropy"] if cfg.entropy else []))
    g_terms = ("feature_matching", *(name for name in ("pull_away", "variational") if getattr(cfg, name)),
               *(["low_density"] if cfg.density else []))
    return (Player("D", ("D",), d_terms, partial(discriminator, entropy=cfg.entropy),
                   partial(adam, lr=cfg.learning_rate_d, betas=(0.5, beta2))),
            Player("G", ("G", "E") if cfg.variational else ("G",), g_terms,
                   partial(generator, norm=2 if mlp else 1, pull_away=cfg.pull_away, variational=cfg.variational,
                           low_density=cfg.low_density),
                   partial(adam, lr=cfg.learning_rate_g, betas=(0.0, beta2))))


RECIPE = Recipe("bad-gan", CITATION, Settings, published, players, nets=("D", "G", "E"),
                init_images=improved_gan.init_images)
