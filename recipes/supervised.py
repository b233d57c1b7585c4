"""The same classifier trained on the labelled images alone: the baseline that every semi-supervised number needs.

Settings (network, labels, rate, schedule, averaging) are those of `improved-gan` for the data set, so that the only
difference is the unlabelled and generated images; any network is chosen with --model.
"""
from functools import partial

import losses
import ops
from config import Config, Spec

from . import improved_gan
from .player import Player, Recipe


def published(spec: Spec) -> dict:
    return {name: value for name, value in improved_gan.published(spec).items() if name != "learning_rate_g"}


def classifier(nets, b):
    return {"supervised": losses.cross_entropy(nets["D"](b.x_lab).classes, b.y_lab)}


def players(cfg: Config) -> tuple[Player]:
    return (Player("D", ("D",), ("supervised",), classifier,
                   partial(ops.Adam, lr=cfg.learning_rate_d, betas=(0.5, 0.999))),)


RECIPE = Recipe("supervised", "the classifier of Salimans et al. 2016 without unlabelled images", Config, published,
                players, nets=("D",))
