"""The same classifier trained on the labelled images alone: the baseline that every semi-supervised number needs.

Settings (network, labels, rate, schedule, averaging) are those of `improved-gan` for the data set, so that the only
difference is the unlabelled and generated images; any network is chosen with --model. `--optimiser sgd` is that of the
baseline of `cats-dogs`, where the rest of its settings is told.
"""
import dataclasses
from functools import partial
from typing import Literal

import torch

import losses
import ops
from config import Config, Spec

from . import improved_gan
from .player import Player, Recipe


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """How the classifier is moved, and settings of the networks of manifold-gan and ssgan."""

    optimiser: Literal["adam", "sgd"] = "adam"
    """adam as in improved-gan, or sgd with momentum 0.9 and weight decay 0.0001."""
    pool: Literal["average", "max"] = "average"
    """Global pool of conv-small (manifold-gan's is max)."""
    norm_type: Literal["batch", "instance", "none"] = "batch"
    """Normalisation (--model ssgan)."""


def published(spec: Spec) -> dict:
    return {name: value for name, value in improved_gan.published(spec).items() if name != "learning_rate_g"}


def classifier(nets, b):
    return {"supervised": losses.cross_entropy(nets["D"](b.x_lab).classes, b.y_lab)}


def players(cfg: Settings) -> tuple[Player]:
    optimiser = {"adam": partial(ops.Adam, betas=(0.5, 0.999)),
                 "sgd": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4, fused=True)}[cfg.optimiser]
    return (Player("D", ("D",), ("supervised",), classifier, partial(optimiser, lr=cfg.learning_rate_d)),)


RECIPE = Recipe("supervised", "the classifier of Salimans et al. 2016 without unlabelled images", Settings, published,
                players, nets=("D",))
