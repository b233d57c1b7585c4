"""SGAN (Odena 2016, "Semi-Supervised Learning with Generative Adversarial Networks"): the plain game of a generator and
a discriminator with K+1 outputs, the last of them "generated".

    L_D = -E log p(y | x) - E log(1 - p(K+1 | x_unl)) - E log p(K+1 | G(z)),   p the softmax over all K+1 outputs
    L_G = -E log(1 - p(K+1 | G(z)))

What is our reading. The paper describes the game in words and an algorithm, without formulas for these terms:
- labelled images are classified over all K+1 outputs, as the outputs are one softmax; of an unlabelled image nothing is
  known but that it is not generated;
- the generator descends the non-saturating loss of Goodfellow et al. 2014 (arXiv:1406.2661);
- the three terms of L_D weigh the same (--weight changes that).

What is ours. Networks, labels, rates, schedule and averaging are those of `improved-gan` for the data set, so that the
game is the only difference; they include its deviations, and its short schedules for Digits, MNIST and Fashion. --head
implicit fixes the output of the fake class at 0.
"""
import losses
import ops
from config import GanConfig, Spec

from . import improved_gan
from .player import Player, Recipe

CITATION = "Odena 2016, Semi-Supervised Learning with Generative Adversarial Networks, arXiv:1606.01583"


def published(spec: Spec) -> dict:
    return {**improved_gan.published(spec), "head": "explicit"}


def discriminator(nets, b):
    D, G = nets["D"], nets["G"]
    labelled, real, fake = ops.verdicts(D, [b.x_lab, b.x_unl], ops.sample(G, b.z))
    return {"supervised": losses.cross_entropy_of_all(labelled.classes, labelled.real, b.y_lab),
            "real": losses.taken_for_real(real.real),
            "fake": losses.taken_for_fake(fake.real)}


def generator(nets, b):
    return {"adversarial": losses.taken_for_real(ops.verdict_on_fake(nets["D"], nets["G"](b.z)).real)}


def players(cfg: GanConfig) -> tuple[Player, Player]:
    return improved_gan.game(cfg, discriminator, ("supervised", "real", "fake"), generator, ("adversarial",))


RECIPE = Recipe("sgan", CITATION, GanConfig, published, players, init_images=improved_gan.init_images)
