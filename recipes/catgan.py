"""CatGAN (Springenberg 2016, "Unsupervised and Semi-supervised Learning with Categorical Generative Adversarial
Networks"): no fake class; a real image is one that the classifier is sure of, a generated one should leave it unsure.

    L_D = -H_X[p(y | D)] + E H[p(y | x, D)] - E H[p(y | G(z), D)] + lambda E CE[y, p(y | x, D)]
    L_G = -H_G[p(y | D)] + E H[p(y | G(z), D)]

p(y | x, D) is the softmax over the K classes, H an entropy, H_X and H_G that of the mean of p over a batch of real and
of generated images. Without labels these are the paper's eq. 7; the cross-entropy of the labelled images is what its
semi-supervised form adds. Both are minimised here; the paper maximises D's entropies, and there the signs are the
opposite. Terms of D: supervised, marginal_real, conditional_real, conditional_fake; of G: marginal, conditional. Each
enters with its sign above, so entropies that are to grow are logged negative. lambda is --weight D/supervised=LAMBDA.

Where this differs from the paper:
- the unlabelled and the labelled images come in batches of the same size; H_X is that of the unlabelled batch;
- lambda is 1 by default, as in the author's published sketch of the loss (gist stokasto/30198e047bfad1811cc1);
- networks, labels, rates, schedule and averaging are those of `improved-gan` for the data set, with its deviations and
  its short schedules for Digits, MNIST and Fashion, so that the game is the only difference.

There is no logit of "real": what an evaluation tells of it means nothing here.
"""
import dataclasses
from typing import Literal

import losses
import ops
from config import GanConfig

from . import improved_gan
from .player import Player, Recipe

CITATION = ("Springenberg 2016, Unsupervised and Semi-supervised Learning with Categorical Generative Adversarial "
            "Networks, arXiv:1511.06390")


@dataclasses.dataclass(frozen=True)
class Settings(GanConfig):
    """A generated image has no class of its own, so there is one head only."""

    head: Literal["implicit"] = "implicit"
    """K logits: there is no fake class."""


def discriminator(nets, b):
    D, G = nets["D"], nets["G"]
    labelled, real, fake = ops.verdicts(D, [b.x_lab, b.x_unl], ops.sample(G, b.z))
    return {"supervised": losses.cross_entropy(labelled.classes, b.y_lab),
            "marginal_real": -losses.marginal_entropy(real.classes),
            "conditional_real": losses.conditional_entropy(real.classes),
            "conditional_fake": -losses.conditional_entropy(fake.classes)}


def generator(nets, b):
    fake = ops.verdict_on_fake(nets["D"], nets["G"](b.z))
    return {"marginal": -losses.marginal_entropy(fake.classes),
            "conditional": losses.conditional_entropy(fake.classes)}


def players(cfg: Settings) -> tuple[Player, Player]:
    return improved_gan.game(
        cfg, discriminator, ("supervised", "marginal_real", "conditional_real", "conditional_fake"),
        generator, ("marginal", "conditional"))


RECIPE = Recipe("catgan", CITATION, Settings, improved_gan.published, players, init_images=improved_gan.init_images)
