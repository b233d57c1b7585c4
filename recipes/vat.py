"""Virtual adversarial training (Miyato, Maeda, Koyama, Ishii 2018, "Virtual Adversarial Training: A Regularization
Method for Supervised and Semi-Supervised Learning"; settings from its code, takerum/vat_tf at c5125d2). A classifier
alone, without a generator.

    L = -E log p(y | x) + E D[p(. | x_unl), p(. | x_unl + r_vadv)] + E H(p(. | x_unl)),  D the KL divergence
    r_vadv = epsilon g / |g|,  g = grad_r D[p(. | x), p(. | x + r)] at r = xi d / |d|,  d ~ N(0, I)   (eq. 14 and 15)

The first divergence is R_vadv (eq. 7) with alpha = 1 (eq. 8); its left side is a target without gradient. The last term
is their "EntMin"; `--entropy 0` is VAT alone. As in the code, only labelled images enter the running averages of batch
norm, and dropout draws the same for all calls on the unlabelled images: otherwise the divergence would not be 0 at
r = 0 and its gradient would not point where the Hessian stretches most.

Where this differs from the code, and why:
- xi is 0.001, not 1e-6, which in float32 is lost in the rounding of the pixels: beside the direction of float64, that
  of xi = 1e-6 had a cosine of 0.20 for conv-large and 0.75 for the small MLP, that of 0.001 above 0.999 (untrained
  nets, random images). r_vadv is always computed in float32, for the same reason;
- lengths are those of pixels from 0 to 1, whatever range the network takes;
- CIFAR-10 is not whitened, so the code's epsilon (8 on whitened images) would mean another length: it has that of SVHN;
- a step has as many labelled images as unlabelled ones, 128; the code has 32. Updates are as many: 48,000 and 200,000;
- Adam's beta1 stays 0.9; in the code it is 0.5 while the rate falls;
- moved images reflect at their edges; there what is moved in is grey (0);
- batch norm's averages are those of the training; the code's test.py, not its training, first averages them anew over
  100 labelled batches that are not moved;
- labels are balanced; the code's of SVHN are drawn from all;
- Digits, MNIST and Fashion take the MLP of improved-gan, an epsilon and a short schedule, all ours. With `--entropy 0`
  that MLP ends in one verdict for all images but the labelled ones (figure/result/LOG.md).
"""
import dataclasses
from functools import partial
from typing import Annotated

import torch
from torch.nn.utils import parametrize

import losses
import ops
from config import Config, Spec, Within

from . import improved_gan
from .player import Player, Recipe


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """What the perturbation is, and how much entropy counts."""

    xi: Annotated[float, Within(1e-9)] = 1e-3
    """Length of the step by which the direction of the perturbation is found, on pixels from 0 to 1."""
    epsilon: Annotated[float, Within(0)] = 3.5
    """Length of the perturbation, on pixels from 0 to 1."""
    entropy: Annotated[float, Within(0)] = 1.0
    """Weight of the entropy of the classes of unlabelled images (0: virtual adversarial training alone)."""


CONV = {"model": "conv-large", "learning_rate_d": 1e-3, "batch_size": 128, "shift": 2, "average": 0.0}
MLP = {"model": "mlp", "learning_rate_d": 3e-3, "decay_from": 0.5, "average": 0.995}
PUBLISHED = {
    "Digits": {**MLP, "epsilon": 1.0, "epochs": 100.0},
    "MNIST": {**MLP, "epsilon": 0.5, "epochs": 40.0},
    "Fashion": {**MLP, "epsilon": 1.0, "epochs": 40.0},
    "SVHN": {**CONV, "decay_from": 80 / 120, "epochs": 84.0},
    "CIFAR10": {**CONV, "flip": True, "decay_from": 460 / 500, "epochs": 513.0},
}


def published(spec: Spec) -> dict:
    gan = improved_gan.published(spec)
    other = {**MLP, "epsilon": 1.0} if gan["model"] == "mlp" else {**CONV, "decay_from": 80 / 120}
    return {"labels": gan["labels"], **PUBLISHED.get(spec.name, {**other, "epochs": 100.0})}


def classifier(nets, b, xi, epsilon, entropy):
    D = nets["D"]
    one = 255 / D.pixels.divisor
    with parametrize.cached():  # the weight norm is computed once for all calls
        labelled = D(b.x_lab).classes
        with ops.statistics_kept(D), ops.noise_repeated(D):
            with torch.autocast(b.x_unl.device.type, enabled=False):
                r_vadv = losses.virtual_adversarial(lambda x: D(x).classes, b.x_unl, torch.randn_like(b.x_unl),
                                                    xi * one, epsilon * one)
            with torch.set_grad_enabled(entropy > 0):
                clean = D(b.x_unl).classes
            moved = D(b.x_unl + r_vadv).classes
    return {"supervised": losses.cross_entropy(labelled, b.y_lab),
            "virtual_adversarial": losses.divergence(clean.detach(), moved),
            "entropy": entropy * losses.conditional_entropy(clean)}


def players(cfg: Settings) -> tuple[Player]:
    return (Player("D", ("D",), ("supervised", "virtual_adversarial", "entropy"),
                   partial(classifier, xi=cfg.xi, epsilon=cfg.epsilon, entropy=cfg.entropy),
                   partial(torch.optim.Adam, lr=cfg.learning_rate_d, fused=True)),)


RECIPE = Recipe("vat", "Miyato et al. 2018, Virtual Adversarial Training, arXiv:1704.03976", Settings, published,
                players, nets=("D",), cost=8)
