"""The same classifier trained on the labelled images alone: the baseline that every semi-supervised number needs.

Settings (network, labels, rate, schedule, averaging) are those of `improved-gan` for the data set, so that the only
difference is the unlabelled and generated images; any network is chosen with --model. Beside `ssgan`, `bad-gan`,
`blog-svhn` and `cats-dogs` belongs `--adam_eps outside`, beside `vat` and `mean-teacher` also `--beta1 0.9` (on SVHN,
for `mean-teacher`, `--normalise`), beside `manifold-gan` `--pool max --scales trained`. `--optimiser sgd` is of the
baseline of `cats-dogs`, where the rest of its settings is told.
"""
import dataclasses
from functools import partial
from typing import Annotated, Literal

import torch

import losses
import ops
from config import Config, Spec, UserError, Within

from . import improved_gan
from .player import Player, Recipe


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """How the classifier is moved, and settings of the networks of other recipes."""

    optimiser: Literal["adam", "sgd"] = "adam"
    """adam as in improved-gan, or sgd with momentum 0.9 and weight decay 0.0001."""
    adam_eps: Literal["inside", "outside"] = "inside"
    """Where Adam adds its eps of 1e-8: inside the square root, or outside it as PyTorch does."""
    beta1: Annotated[float, Within(0, 0.999)] = 0.5
    """How much of the mean gradient Adam keeps from step to step."""
    pool: Literal["average", "max"] = "average"
    """Global pool of conv-small (manifold-gan's is max)."""
    scales: Literal["standardised", "trained"] = "standardised"
    """Scales of conv-small's weight norm (manifold-gan's are trained)."""
    normalise: bool = False
    """Let conv-large give each image mean 0 and deviation 1 (mean-teacher on SVHN)."""
    norm_type: Literal["batch", "instance", "none"] = "batch"
    """Normalisation (--model ssgan)."""


def published(spec: Spec) -> dict:
    return {name: value for name, value in improved_gan.published(spec).items() if name != "learning_rate_g"}


def classifier(nets, b):
    return {"supervised": losses.cross_entropy(nets["D"](b.x_lab).classes, b.y_lab)}


def players(cfg: Settings) -> tuple[Player]:
    if cfg.optimiser == "sgd" and (cfg.adam_eps, cfg.beta1) != (Settings.adam_eps, Settings.beta1):
        raise UserError("--adam_eps, --beta1: they are of Adam, and --optimiser is sgd; leave them out")
    adam = ops.Adam if cfg.adam_eps == "inside" else partial(torch.optim.Adam, fused=True)
    optimiser = {"adam": partial(adam, betas=(cfg.beta1, 0.999)),
                 "sgd": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-4, fused=True)}[cfg.optimiser]
    return (Player("D", ("D",), ("supervised",), classifier, partial(optimiser, lr=cfg.learning_rate_d)),)


RECIPE = Recipe("supervised", "the classifier of Salimans et al. 2016 without unlabelled images", Settings, published,
                players, nets=("D",), cost=1.9,
                init_images=lambda cfg: "labelled" if cfg.scales == "standardised" else None)
