"""A checkpoint made ready: its settings, its data set as the run had it, and its networks."""
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import datasets
import models
import recipes
from config import Config, Spec, UserError, from_dict
from datasets import splits
from datasets.h5 import Data
from engine import state, world


class Restored(NamedTuple):
    """A checkpoint ready to be evaluated."""

    cfg: Config
    recipe: recipes.Recipe
    data: Data  # with the labels that the run was given
    now: Data  # with those that the data set has since
    nets: dict[str, nn.Module]  # raw weights; without "G" where the recipe has no generator
    averaged: nn.Module  # the first of them with averaged weights
    device: torch.device
    tells_real: bool  # whether D was trained to tell real images from generated ones


def run(saved: dict[str, Any], path: Path, data_dir: str = "", device: str = "") -> Restored:
    """The data set and the networks of what `engine.state.load` read from `path`; the folder of the data sets and the
    device are those of the training if not given. UserError if the settings, the data set or the weights do not fit,
    or weights are not finite."""
    recipe, cfg = settings(saved, path)
    where, data_dir = _device(device, cfg.device), Path(data_dir or cfg.data_dir)
    now = _load(cfg.dataset, data_dir)
    with state.fitting(path, "data"):
        data = as_trained(now if recipe.classifies else now.without_labels(), saved, data_dir)
    tells_real = any("fake" in player.terms for player in recipe.players(cfg))
    return Restored(cfg, recipe, data, now, *networks(saved, path, recipe, cfg, data.spec, where), where, tells_real)


def settings(saved: dict[str, Any], path: Path) -> tuple[recipes.Recipe, Config]:
    """The recipe and the settings of what was read from `path`. UserError if they do not fit."""
    with state.fitting(path, "settings"):
        recipe = recipes.find(saved["settings"]["recipe"])
        return recipe, from_dict(recipe.settings, saved["settings"])


def networks(saved: dict[str, Any], path: Path, recipe: recipes.Recipe, cfg: Config, spec: Spec,
             where: torch.device) -> tuple[dict[str, nn.Module], nn.Module]:
    """The networks by name with their raw weights, and the first of them with averaged ones, of what was read from
    `path`, whose `settings` are given. UserError if the weights do not fit or are not finite."""
    with state.fitting(path, "weights"):
        nets = {name: net.to(where, memory_format=torch.channels_last)
                for name, net in models.build(cfg, spec, recipe.trained(cfg)).items()}
        averaged = copy.deepcopy(nets[recipe.nets[0]])
        for name, net in nets.items():
            net.load_state_dict(saved["nets"][name])
        averaged.load_state_dict(saved["averaged"])
    for net in (*nets.values(), averaged):
        if bad := [name for name, values in net.state_dict().items() if not values.isfinite().all()]:
            raise UserError(f"{path}: its weights are not finite ({bad[0]}); take another checkpoint of the run")
    return nets, averaged


def _device(asked: str, trained_on: str) -> torch.device:
    """The device asked for, or else that of the training (another one rounds differently) where this machine has it."""
    try:
        return world.device(asked or trained_on)
    except UserError:
        if asked:
            raise
        return world.device("auto")


def _load(name: str, data_dir: Path) -> Data:
    try:
        return datasets.load(name, data_dir, world.image_budget(torch.device("cpu")))
    except UserError as error:
        raise UserError(f"the checkpoint's data set, looked for in --data_dir {data_dir}: {error}") from None


def as_trained(data: Data, saved: dict[str, Any], data_dir: Path) -> Data:
    """The data set as the run of the checkpoint had it: with its classes and the labels that it was given, whatever
    was added or corrected since. UserError if images or test labels are not those of the checkpoint."""
    before = saved["data"]
    if data.digest != before["digest"]:
        raise UserError(f"{data.spec.name} (--data_dir {data_dir}): its images or test labels are not those of the "
                        f"checkpoint ({_kind(data.spec.shape, data.spec.classes, data.digest)}, not "
                        f"{_kind(before['shape'], before['classes'], before['digest'])}); name the folder with that "
                        "data set")
    rows, labels = torch.cat([saved["labelled"], saved["validation"]]).numpy(), saved["labels"].numpy()
    count = len(saved["labelled"])
    if splits.digest(rows[:count], labels[:count]) != saved["labelled_digest"]:
        raise UserError("the checkpoint's labels are not those of its own digest; take another checkpoint of the run")
    return data.with_labels(tuple(before["class_names"]), rows, labels)


def _kind(shape: Sequence[int], classes: int, digest: str) -> str:
    return f"{' x '.join(map(str, shape))} images of {classes} classes, digest {digest[:12]}"
