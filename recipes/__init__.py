"""Training methods by name; each file is one published method: its losses, its settings per data set, its source.

A recipe has players, each of which trains some of the nets by a loss of named terms. One step of the engine serves
every recipe: for each player, as often as it plays in a step, draw a batch, weight and add its terms, and let its
optimiser move its own nets.
"""
from config import Config, Spec, nearest

from . import blog_svhn, improved_gan, mean_teacher, ssgan, supervised, vat
from .player import Player, Recipe

FILES = (blog_svhn, improved_gan, mean_teacher, ssgan, supervised, vat)
RECIPES = {file.RECIPE.name: file.RECIPE for file in FILES}

__all__ = ["RECIPES", "Player", "Recipe", "defaults", "find"]


def find(name: str) -> Recipe:
    """The recipe of that name, in any case; UserError with the nearest name if there is none."""
    return RECIPES[nearest(name, RECIPES, "--recipe")]


def defaults(recipe: Recipe, spec: Spec) -> Config:
    """The recipe's published settings for that data set."""
    return recipe.settings(dataset=spec.name, recipe=recipe.name, **recipe.published(spec))
