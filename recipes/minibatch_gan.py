"""Minibatch discrimination (Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen 2016, "Improved Techniques for
Training GANs", section 3.2; settings from its code, openai/improved-gan at 4f5d1ec,
train_{svhn,cifar}_minibatch_discrimination.py). The better pictures of the two methods of that paper; feature matching
(improved_gan.py) classifies better.

    L_D = -E log p(y | x, real) + 1/2 E[-log D(x_unl)] + 1/2 E[-log(1 - D(G(z)))]
    L_G = E log(1 - D(G(z))), the saturating loss; three updates of G for each of D

D reads of every image also how close it lies to the others of its batch (models/minibatch.py), so that a G whose images
are all alike is found out. Labelled, unlabelled and generated images are batches of their own.

Repaired, against the code: the classifier's verdict on a test image depended on the other images of the test batch. In
evaluation images are now compared with 100 training images that D keeps from its data-dependent initialisation; the sum
over them is scaled to the size that it has over a training batch.

Also different:
- the new features are centred at the data-dependent initialisation for the size of a training batch; the code centres
  their sum over the 500 images with which it initialises;
- the averaged weights are bias-corrected (improved_gan.py);
- Digits, MNIST and Fashion are not in the code (an MNIST script with 400 labels of each class is in its history alone).
  Their network is that of improved_gan.py with the new features, and their settings are ours: the code's rates, but for
  images of fewer than 256 pixels 0.003 and 0.0003 (with these the discriminator of MNIST wins at once, and a saturating
  loss then leaves G without a gradient), and short schedules for a CPU (a step is several times as slow as one of
  improved-gan: six calls of D that compare images, where that has one call for three batches, and three updates of G).
"""
import math

import losses
import ops
from config import GanConfig, Spec

from . import improved_gan
from .player import Player, Recipe


def published(spec: Spec) -> dict:
    """The settings of improved-gan, whose schedules the code shares, with the networks that compare images."""
    found = improved_gan.published(spec)
    if found["model"] == "mlp":
        rates = (3e-4, 3e-4) if math.prod(spec.shape) >= 256 else (3e-3, 3e-4)
        return {**found, "model": "mlp-minibatch", "learning_rate_d": rates[0], "learning_rate_g": rates[1],
                "epochs": 50.0 if spec.name == "Digits" else found["epochs"]}
    return {**found, "model": "conv-minibatch"}


def generator(nets, b):
    return {"adversarial": -losses.taken_for_fake(ops.verdict_on_fake(nets["D"], nets["G"](b.z)).real)}


def players(cfg: GanConfig) -> tuple[Player, Player]:
    D, G = improved_gan.game(cfg, improved_gan.discriminator, ("supervised", "real", "fake"),
                             generator, ("adversarial",))
    return D, G._replace(times=3)


RECIPE = Recipe("minibatch-gan", improved_gan.CITATION, GanConfig, published, players,
                init_images=improved_gan.init_images)
