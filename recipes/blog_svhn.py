"""The article "Semi-supervised Learning with GANs" (sthalles, 31 July 2017) on SVHN, after the semi-supervised notebook
of udacity/deep-learning. Its own notebook could not be read; settings are those of the article's text and, where that
is silent, of public ports and of the Udacity notebook (smoothing, rate, width and epochs among them).

    L_D = sum(mask * -log p(y | x)) / max(1, sum(mask)) - E[0.9 log D(x) + 0.1 log(1 - D(x))] - E[log(1 - D(G(z)))]
    L_G = mean_j |E f_j(x) - E f_j(G(z))|,  f the pooled layer

The mask is 1 on those images of a mixed batch whose label is known: of 128 SVHN images 1.75 on average, so the class
loss is very noisy. `--labels_come separately` takes a batch of labelled images beside the unlabelled one, as the other
recipes do, and the same formula is then the plain mean.

Repaired, against the article:
- labels: SVHN's digit 0, stored as 10, had no class of its own and was always counted wrong;
- the labelled images were the first 1,000 of the file; here they are chosen at random, the same number of each class;
- dropout that was never active, and batch norm that evaluated on batch statistics (models/blog.py);
- a half of the test set was tested on; here all of it.

Also different: discriminator and generator move one after the other on batches of their own, not at once on the same;
only real images enter the discriminator's running averages; small images take the MLP pair, and the settings of Digits,
MNIST and Fashion are ours. Separate labelled images are normalised together with the unlabelled ones.
"""
import dataclasses
from functools import partial
from typing import Literal

import torch

import losses
import ops
from config import GanConfig, Share, Spec

from . import improved_gan
from .player import Player, Recipe


@dataclasses.dataclass(frozen=True)
class Settings(GanConfig):
    """How labels come, and the constants of the article."""

    labels_come: Literal["masked", "separately"] = "masked"
    """Labelled images: those that happen to be among the unlabelled ones of a batch, or a batch of their own."""
    smoothing: Share = 0.1
    """Target probability of "generated" on real images (one-sided label smoothing; 0: none)."""
    epoch_decay: Share = 0.9
    """Factor of the learning rates after each epoch (1: none)."""


CONV = {"model": "blog", "batch_size": 128, "epochs": 25.0}
MLP = {"model": "mlp", "learning_rate_d": 3e-3, "learning_rate_g": 1e-3, "epoch_decay": 1.0, "decay_from": 0.5}
PUBLISHED = {"Digits": {**MLP, "epochs": 100.0}, "MNIST": {**MLP, "epochs": 40.0}, "Fashion": {**MLP, "epochs": 40.0}}


def published(spec: Spec) -> dict:
    gan = improved_gan.published(spec)
    other = {**MLP, "epochs": 100.0} if gan["model"] == "mlp" else CONV
    return {"labels": gan["labels"], "average": 0.0, **PUBLISHED.get(spec.name, other)}


def discriminator(nets, b, masked, smoothing):
    D, G = nets["D"], nets["G"]
    if masked:
        real, fake = ops.verdicts(D, [b.x_unl], ops.sample(G, b.z))
        labelled, y = real, b.y_unl
    else:
        labelled, real, fake = ops.verdicts(D, [b.x_lab, b.x_unl], ops.sample(G, b.z))
        y = b.y_lab
    return {"supervised": losses.masked_cross_entropy(labelled.classes, y),
            "real": losses.smoothed_real(real.real, smoothing),
            "fake": losses.taken_for_fake(fake.real)}


def rate(cfg: Settings, step: int, steps_per_epoch: int) -> float:
    return cfg.epoch_decay ** (step // steps_per_epoch)


def players(cfg: Settings) -> tuple[Player, Player]:
    loss = partial(discriminator, masked=cfg.labels_come == "masked", smoothing=cfg.smoothing)
    return improved_gan.game(cfg, loss, ("supervised", "real", "fake"), partial(improved_gan.generator, norm=1),
                             ("feature_matching",), partial(torch.optim.Adam, fused=True))


RECIPE = Recipe("blog-svhn", "sthalles 2017, Semi-supervised Learning with GANs", Settings, published, players,
                rate=rate)
