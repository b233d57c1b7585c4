"""SGAN (Odena 2016, "Semi-Supervised Learning with Generative Adversarial Networks", section 2): the plain game of a
generator and a discriminator with K+1 outputs, the last of them "generated". The paper has an algorithm and no
formulas: D minimises the negative log likelihood of its labels, and G maximises it, without the "modified objective" of
Goodfellow et al. 2014 (arXiv:1406.2661, section 3). Written out,

    L_D = -E log p(y | x) - E log(1 - p(K+1 | x_unl)) - E log p(K+1 | G(z)),   p the softmax over all K+1 outputs
    L_G = E log p(K+1 | G(z)), the saturating loss

--adversary non-saturating is that modified objective, L_G = -E log(1 - p(K+1 | G(z))).

What is our reading:
- the paper's minibatch is half labelled and half generated images, and says nothing of unlabelled ones; of these
  nothing is known here but that they are not generated;
- the three terms of L_D weigh the same (--weight changes that).

What is ours. Networks, labels, rates, schedule and averaging are those of `improved-gan` for the data set, so that the
game is the only difference; they include its deviations, and its short schedules for Digits, MNIST and Fashion. But on
images of 256 pixels and more the rates are 0.0003 and 0.003, on MNIST 0.001 and 0.003, found on validation rows of
MNIST, Fashion and SVHN: with those of `improved-gan` the discriminator wins at once, and the saturating loss leaves
G without a gradient. The paper has networks like DCGAN's and the best learning rate of a random search (its code was
DoctorTeeth/supergan). --head implicit fixes the output of the fake class at 0.
"""
import dataclasses
import math
from functools import partial
from typing import Literal

import losses
import ops
from config import GanConfig, Spec

from . import improved_gan
from .player import Player, Recipe

CITATION = "Odena 2016, Semi-Supervised Learning with Generative Adversarial Networks, arXiv:1606.01583"


@dataclasses.dataclass(frozen=True)
class Settings(GanConfig):
    """What the generator wants."""

    adversary: Literal["minimax", "non-saturating"] = "minimax"
    """The generator's loss: what the discriminator gains, or that its images be taken for real."""


def published(spec: Spec) -> dict:
    found = {**improved_gan.published(spec), "head": "explicit"}
    if math.prod(spec.shape) >= 256:
        found |= {"learning_rate_d": 1e-3 if spec.name == "MNIST" else 3e-4, "learning_rate_g": 3e-3}
    return found


def discriminator(nets, b):
    D, G = nets["D"], nets["G"]
    labelled, real, fake = ops.verdicts(D, [b.x_lab, b.x_unl], ops.sample(G, b.z))
    return {"supervised": losses.cross_entropy_of_all(labelled.classes, labelled.real, b.y_lab),
            "real": losses.taken_for_real(real.real),
            "fake": losses.taken_for_fake(fake.real)}


def generator(nets, b, adversary):
    real = ops.verdict_on_fake(nets["D"], nets["G"](b.z)).real
    return {"adversarial": -losses.taken_for_fake(real) if adversary == "minimax" else losses.taken_for_real(real)}


def players(cfg: Settings) -> tuple[Player, Player]:
    return improved_gan.game(cfg, discriminator, ("supervised", "real", "fake"),
                             partial(generator, adversary=cfg.adversary), ("adversarial",))


RECIPE = Recipe("sgan", CITATION, Settings, published, players, init_images=improved_gan.init_images)
