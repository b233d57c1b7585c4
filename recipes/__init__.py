"""Training methods by name; each file is one published method: its losses, its settings per data set, its source.

A recipe has players, each of which trains some of the nets by a loss of named terms. One step of the engine serves
every recipe: for each player, as often as it plays in a step, draw a batch, weight and add its terms, and let its
optimiser move its own nets.
"""
from config import Config, Spec, nearest

from . import (
    bad_gan,
    blog_svhn,
    catgan,
    cats_dogs,
    ct_gan,
    dcgan,
    improved_gan,
    manifold_gan,
    mean_teacher,
    minibatch_gan,
    pixelcnn,
    sgan,
    ssgan,
    supervised,
    vat,
)
from .player import Player, Recipe

METHODS = (improved_gan, minibatch_gan, bad_gan, ct_gan, manifold_gan, catgan, sgan, dcgan, ssgan, blog_svhn,
           cats_dogs, vat, mean_teacher, supervised, pixelcnn)
RECIPES = {method.RECIPE.name: method.RECIPE for method in METHODS}

__all__ = ["RECIPES", "Player", "Recipe", "defaults", "find"]


def find(name: str) -> Recipe:
    """The recipe of that name, in any case; UserError with the nearest name if there is none."""
    return RECIPES[nearest(name, RECIPES, "--recipe")]


def defaults(recipe: Recipe, spec: Spec) -> Config:
    """The recipe's published settings for that data set."""
    return recipe.settings(dataset=spec.name, recipe=recipe.name, **recipe.published(spec))
