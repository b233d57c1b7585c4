"""From settings to everything that a run needs, checked before anything is written."""
import contextlib
import dataclasses
import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import datasets
import models
import ops
import recipes
from config import Config, Spec, UserError, as_dict, check, nearest
from datasets import splits
from datasets.augment import augment
from datasets.h5 import Data
from datasets.pipeline import Pipeline
from engine import density, restore, world
from engine.state import State, find, fitting
from engine.step import Step, rate_factor

INIT_IMAGES = 500  # of the data-dependent initialisation (Salimans et al. 2016, code)
EVALUATION_SHARE = 0.03  # of the training time
# Least and most steps between evaluations, samples and checkpoints. To a GPU they cost as much as 150 steps, most of it
# on the host.
INTERVALS = {"cpu": (0, 2000), "cuda": (5000, 10_000)}
# The same between lines of the log, of which a shorter run has ten. For each the host waits for a GPU, which then waits
# for the host as long as six of MNIST's steps take.
LOGGED = {"cpu": (50, 50), "cuda": (50, 2000)}
MOST_STEPS = 10**9
WATCHED = 1000  # labelled images at most of which an evaluation tells the accuracy


class Run(NamedTuple):
    """One training run, ready to go."""

    cfg: Config
    recipe: recipes.Recipe
    players: tuple[recipes.Player, ...]
    data: Data
    pipeline: Pipeline
    state: State
    step: Step
    steps_per_epoch: int
    device: torch.device
    begun: dict[str, Any]  # with which versions, as `provenance` tells
    changed: bool  # whether its settings are others than those in its checkpoint

    def rate(self) -> float:
        """The share of the learning rates that the next step takes."""
        cfg, step = self.cfg, self.state.step
        falling = rate_factor(step, cfg.steps, self.steps_per_epoch, cfg.decay_from)
        return falling * self.recipe.rate(cfg, step, self.steps_per_epoch)


def resolve(cfg: Config) -> Config:
    """The settings with every value that stands for another worked out; UserError for those out of bounds."""
    recipe, spec = recipes.find(cfg.recipe), datasets.spec(cfg.dataset, cfg.data_dir)
    if recipe.classifies and not spec.classes:
        without = ", ".join(name for name, other in recipes.RECIPES.items() if not other.classifies)
        raise UserError(f"--dataset {spec.name}: it has no labels, and --recipe {recipe.name} needs some; use --recipe "
                        f"{without}")
    for flag in () if recipe.classifies else ("labels", "labelled", "label_seed"):
        if (value := getattr(cfg, flag)) != getattr(type(cfg), flag):
            raise UserError(f"--{flag} {value}: --recipe {recipe.name} uses no labels; leave the flag out")
    check(cfg)
    if cfg.select == "validation" and not recipe.classifies:
        raise UserError(f"--select validation: --recipe {recipe.name} has no classifier, whose accuracy would decide; "
                        "leave the flag out")
    if spec.points and getattr(cfg, "warp", 0):
        raise UserError(f"--warp {cfg.warp}: the images of {spec.name} are points, which have no pixels to move; leave "
                        "the flag out")
    if spec.points and cfg.flip:
        raise UserError(f"--flip: the images of {spec.name} are points, which have no mirror image; leave the flag out")
    if cfg.shift >= min(spec.shape[:2]):
        raise UserError(f"--shift {cfg.shift}: must be smaller than the images of {spec.name}, "
                        f"{spec.shape[0]} x {spec.shape[1]} pixels")
    if getattr(cfg, "density", ""):  # the file, because a run folder's newest one changes
        cfg = dataclasses.replace(cfg, density=str(find(cfg.density, "--density")))
    elif hasattr(cfg, "low_density") and cfg.low_density != type(cfg).low_density:
        raise UserError(f"--low_density {cfg.low_density}: needs a density model; name its run with --density")
    cfg = dataclasses.replace(cfg, dataset=spec.name, recipe=recipe.name,
                              model=nearest(cfg.model, models.MODELS, "--model"))
    if not cfg.checkpoint:  # which may be from before this was looked at
        models.check_options(cfg)
    return dataclasses.replace(cfg, weight=tuple(
        f"{name}={value!r}" for name, value in term_weights(cfg, recipe).items()))


def term_weights(cfg: Config, recipe: recipes.Recipe) -> dict[str, float]:
    """The weights of --weight by "player/term"; UserError for a term that the recipe does not have."""
    known = [f"{player.name}/{term}" for player in recipe.players(cfg) for term in player.terms]
    weights = {}
    for text in cfg.weight:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in known or name in weights or not math.isfinite(value):
            raise UserError(f"--weight {text}: write each TERM=NUMBER once; the terms of {recipe.name} are "
                            f"{', '.join(known)}")
        weights[name] = value
    return weights


def held_out(cfg: Config, labels: np.ndarray, labelled: int) -> Config:
    """The settings with the number of validation images worked out for those training labels (-1: none), so many of
    which are of labelled images."""
    if cfg.select == "last" or cfg.validation:
        return cfg
    count = min(1000, len(labels) // 5, int((labels >= 0).sum()) - labelled)
    if count < 1:
        raise UserError(f"--select validation: no training image with a label is left beside the {labelled} labelled "
                        "ones; use --select last, or fewer labels")
    return dataclasses.replace(cfg, validation=count)


def scheduled(cfg: Config, pool: int, test: int, device: str) -> Config:
    """The settings with steps, epochs and intervals worked out for that many unlabelled and test images and for a
    "cpu" or "cuda"."""
    if cfg.batch_size > pool:
        raise UserError(f"--batch_size {cfg.batch_size}: the unlabelled pool has {pool} images; use at most as many")
    per_epoch = pool // cfg.batch_size
    steps = cfg.steps or max(1, round(cfg.epochs * per_epoch))
    if steps > MOST_STEPS:
        raise UserError(f"--epochs {cfg.epochs:g}: these are {steps} steps; ask for {MOST_STEPS} at most")
    recipe = recipes.find(cfg.recipe)
    kinds = 2 if cfg.average and recipe.classifies else 1  # of weights that are tested
    watched = kinds * test + min(cfg.labels, WATCHED) + cfg.validation
    seldom = math.ceil(watched / (recipe.cost * cfg.batch_size) / EVALUATION_SHARE)
    least, most = INTERVALS[device]
    seldom = max(seldom, min(least, steps // 5))
    # Whole multiples of the log's interval, so that accuracies stand beside the losses of the same steps.
    shortest, longest = LOGGED[device]
    log_every = cfg.log_every or min(max(steps // 100, min(shortest, steps // 10), 1), longest)
    share = min(steps // 20, most)
    looks, often = (math.ceil(max(share, least) / log_every) * log_every for least in (seldom, shortest))
    written = often if device == "cpu" else min(looks, most)  # samples and checkpoints cost a CPU next to nothing
    intervals = {"eval_every": looks, "sample_every": written, "save_every": written}
    filled = {name: getattr(cfg, name) or found for name, found in intervals.items() if hasattr(cfg, name)}
    return dataclasses.replace(cfg, steps=steps, epochs=steps / per_epoch, log_every=log_every, **filled)


def build(cfg: Config, saved: dict[str, Any] | None = None, path: Path = Path()) -> Run:
    """Load the data, choose the labelled rows, build and initialise the networks (or take them from what was read from
    the checkpoint `path`). UserError for anything that does not fit; nothing is written."""
    def taken_from_it() -> contextlib.AbstractContextManager:
        return fitting(path, "contents") if saved else contextlib.nullcontext()

    device = world.device(cfg.device)
    world.keep_freed_memory()
    world.wake_vector_functions()
    cfg = dataclasses.replace(resolve(cfg), precision=world.precision(cfg.precision, device))
    recipe = recipes.find(cfg.recipe)
    most = {"auto": world.image_budget(torch.device("cpu")), "disk": 0}.get(cfg.data, math.inf)
    data = datasets.load(cfg.dataset, cfg.data_dir, most)
    data = data if recipe.classifies else data.without_labels()
    place = storage_place(cfg.data, data, device)
    with taken_from_it():
        data = restore.as_trained(data, saved, cfg.data_dir) if saved else data
        images, labels = data.arrays.train_image, data.arrays.train_label
        cfg, split = divided(cfg, labels, data.spec.classes, saved)
    cfg = scheduled(cfg, len(split.pool), len(data.arrays.test_image), device.type)
    if saved and saved["step"] > cfg.steps:
        raise UserError(f"--steps {cfg.steps}: the checkpoint is at step {saved['step']} already; ask for more steps")
    world.seed_noise(cfg.seed, world.WEIGHTS)
    nets = {name: net.to(device, memory_format=torch.channels_last)
            for name, net in models.build(cfg, data.spec, recipe.trained(cfg)).items()}
    judge = nets[recipe.nets[0]]
    cfg = dataclasses.replace(cfg, threads=world.use_threads(cfg.threads, step_flop(judge, data.spec, cfg)))
    with taken_from_it():
        nets |= density.given(cfg, data, judge.pixels, device, saved)
    changes = partial(augment, flip=cfg.flip, shift=cfg.shift) if cfg.flip or cfg.shift else lambda x: x
    pipeline = Pipeline(images, labels, split, judge.pixels, cfg.batch_size, cfg.seed, device, place, changes,
                        recipe.second_view)
    players = recipe.players(cfg)
    if saved is None and not cfg.dry_run:  # it may take minutes
        initialise(nets, pipeline, recipe.init_images(cfg), cfg)
    state = State(nets, players, cfg.average, capturable=device.type == "cuda")
    with taken_from_it():
        if saved:
            state.load_state_dict(saved)
        begun = provenance(saved, cfg.steps, device)
    step = Step(state, players, pipeline, term_weights(cfg, recipe), cfg)
    changed = saved is not None and any(saved["settings"][name] != value for name, value in as_dict(cfg).items()
                                        if name != "density")  # of which only the place may change
    return Run(cfg, recipe, players, data, pipeline, state, step, len(split.pool) // cfg.batch_size, device, begun,
               changed)


def divided(cfg: Config, labels: np.ndarray, classes: int,
            saved: dict[str, Any] | None) -> tuple[Config, splits.Split]:
    """Which training rows are what: as the checkpoint tells, or chosen by the settings, which are returned with the
    numbers of those rows."""
    if saved:
        return cfg, splits.of(saved["labelled"].numpy(), saved["validation"].numpy(), len(labels))
    rows = splits.named(cfg.labelled, labels) if cfg.labelled else None
    cfg = held_out(cfg, labels, cfg.labels if rows is None else len(rows))
    split = splits.choose(labels, classes, cfg.labels, cfg.label_seed, cfg.validation, rows)
    return dataclasses.replace(cfg, labels=len(split.labelled)), split


@torch.no_grad()
def step_flop(D: nn.Module, spec: Spec, cfg: Config) -> float:
    """About the floating-point operations of a step of a game, those of dense layers and convolutions: three kinds of
    images pass D forwards and twice backwards, and G's update is worth one kind more."""
    def count(layer: nn.Module, _, output: Tensor) -> None:
        counts[-1] += 2 * layer.weight.numel() * output[:, 0].numel()

    height, width, channels = spec.shape
    counts = []
    hooks = [m.register_forward_hook(count) for m in D.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for images in (1, 2):  # the second image's share, because a D may judge reference images in every call
        counts.append(0)
        D.eval()(torch.zeros(images, channels, height, width, device=next(D.parameters()).device))
    for hook in hooks:
        hook.remove()
    D.train()
    return 12 * cfg.batch_size * (counts[1] - counts[0])


def provenance(saved: dict[str, Any] | None, steps: int, device: torch.device) -> dict[str, Any]:
    """The versions with which the run was begun, and the device, and of every continuation with others, or with another
    number of steps, its first step, its versions and the number of steps before."""
    now = world.versions(device)
    if saved is None:
        return {"versions": now, "resumed": []}
    versions, resumed, length = saved["versions"], saved["resumed"], saved["settings"]["steps"]
    if resumed and resumed[-1]["step"] == saved["step"]:  # no step was made so
        length, resumed = resumed[-1].get("steps_before", length), resumed[:-1]
    before = resumed[-1]["versions"] if resumed else versions
    if now != before or steps != length:
        resumed = [*resumed, {"step": saved["step"], "versions": now, "steps_before": length}]
    return {"versions": versions, "resumed": resumed}


def storage_place(asked: str, data: Data, device: torch.device) -> str:
    """Where the training images will lie, from --data and from how they were loaded."""
    if isinstance(data.arrays.train_image, np.memmap):
        return "disk"
    if asked == "disk":
        raise UserError(f"--data disk: {data.spec.name} has no file; leave the flag out")
    # On a CPU they lie there already, and would be counted twice.
    fits = device.type == "cpu" or data.arrays.train_image.nbytes <= world.image_budget(device)
    return asked if asked != "auto" else "device" if fits else "host"


def initialise(nets: dict, pipeline: Pipeline, what: str | None, cfg: Config) -> None:
    """Data-dependent initialisation of every net, from the first images of the walk through `what` (None: none)."""
    if what is None:
        return
    world.seed_noise(cfg.seed, world.DATA_INIT)
    images, _ = pipeline.take(what, 0, 0, INIT_IMAGES)
    ops.data_init(next(iter(nets.values())), pipeline.pixels.from_bytes(images))
    if "G" in nets:
        ops.data_init(nets["G"], nets["G"].prior(cfg.batch_size, pipeline.device))
    if "E" in nets:
        ops.data_init(nets["E"], ops.sample(nets["G"], nets["G"].prior(INIT_IMAGES, pipeline.device)))
    if "density" in nets:
        nets["density"].choose_threshold(pipeline)


def record(run: Run) -> dict[str, Any]:
    """What a checkpoint holds beside the state."""
    split, labels = run.pipeline.split, run.data.arrays.train_label
    rows, held = split.labelled, split.validation
    return {"settings": as_dict(run.cfg), "labelled": torch.from_numpy(rows), "validation": torch.from_numpy(held),
            "labels": torch.from_numpy(labels[np.concatenate([rows, held])]),  # of labelled, then of validation rows
            "labelled_digest": splits.digest(rows, labels[rows]),
            "data": {"digest": run.data.digest, "shape": list(run.data.spec.shape), "classes": run.data.spec.classes,
                     "class_names": list(run.data.class_names), "resize": run.data.resize},
            **run.begun}


def accuracy_sets(run: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of the sets on which accuracy is watched, by curve name; none without a classifier."""
    if not run.recipe.classifies:
        return {}
    arrays, split = run.data.arrays, run.pipeline.split
    some = split.labelled[:: math.ceil(len(split.labelled) / WATCHED) or 1]  # of all labels they may be a whole set
    sets = {"test": (arrays.test_image, arrays.test_label),
            "labelled": (arrays.train_image[some], arrays.train_label[some]),
            "validation": (arrays.train_image[split.validation], arrays.train_label[split.validation])}
    return {name: pair for name, pair in sets.items() if len(pair[1])}
