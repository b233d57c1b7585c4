"""From the trainer's command line to a run."""
import argparse
import dataclasses
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import models
import recipes
from config import Config, Spec, UserError, as_dict, flags, from_dict, parse
from engine import density, loop, start, state
from engine.run import Run, build, resolve

USAGE = """Train a classifier on a few labelled and many unlabelled images.

    python trainer.py --dataset SVHN                     # a recipe's published settings for that data set
    python trainer.py --dataset SVHN --help              # what they are
    python trainer.py --checkpoint RUN                   # go on from the newest checkpoint of a run folder
    python trainer.py --seed 1 2 3 --label_seed 1 2 3    # three runs at once, and their mean"""
MAY_CHANGE = {"steps", "epochs", "device", "data", "data_dir", "graph", "log_every", "eval_every", "sample_every",
              "save_every", "keep", "density"}  # on resume; of a density the place alone


def peek(argv: Sequence[str]) -> argparse.Namespace:
    """The flags that decide what the others' defaults are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, default in (("dataset", Config.dataset), ("recipe", Config.recipe), ("checkpoint", None),
                          ("select", None)):
        parser.add_argument(f"--{name}", default=default, const=default, nargs="?")
    parser.add_argument("--data_dir", "--data-dir", default=Config.data_dir, const=Config.data_dir, nargs="?",
                        type=Path)
    return parser.parse_known_args(argv)[0]


def settings(argv: Sequence[str]) -> Config:
    """Those of a new run: the command line over the recipe's settings for the data set."""
    first, given = peek(argv), flags(argv)
    recipe = recipes.find(first.recipe)
    default = recipes.defaults(recipe, datasets.spec(first.dataset, first.data_dir))
    default = dataclasses.replace(default, batch_size=datasets.batch_at_hand(first.dataset, first.data_dir,
                                                                             default.batch_size))
    if recipe.classifies:
        share = 0.8 if (first.select or default.select) == "validation" else 1.0  # the rest can be validation images
        labels = datasets.labels_at_hand(first.dataset, first.data_dir, default.labels, share)
        default = dataclasses.replace(default, labels=labels)
    if "epochs" in given:  # steps of the recipe would come before them
        default = dataclasses.replace(default, steps=0)
    return over(default, recipe, argv)


def over(default: Config, recipe: recipes.Recipe, argv: Sequence[str]) -> Config:
    """The command line over those settings of the recipe."""
    given = flags(argv)
    for one, other, both in (("labels", "labelled", "how many images are labelled"), ("steps", "epochs", "how long")):
        if one in given and other in given:
            raise UserError(f"--{one} --{other}: both say {both}; leave one of them out")
    known = (textwrap.fill(f"{what}: {', '.join(names)}", 80, initial_indent="    ", subsequent_indent=8 * " ",
                           break_on_hyphens=False)
             for what, names in (("recipes", recipes.RECIPES), ("models", models.MODELS)))
    description = "\n".join([USAGE, *known])
    return parse(recipe.settings, argv, "trainer.py", description, default, foreign(recipe))


def foreign(recipe: recipes.Recipe) -> dict[str, str]:
    """The flags that other recipes have and this one has not, with what to say of each."""
    own, owners = {field.name for field in dataclasses.fields(recipe.settings)}, {}
    for other in recipes.RECIPES.values():
        for field in dataclasses.fields(other.settings):
            owners.setdefault(field.name, []).append(other.name)
    return {name: f"a flag of --recipe {' or '.join(found) if len(found) < 4 else f'{found[0]} and others'}, not of "
                  f"{recipe.name}; leave it out" for name, found in owners.items() if name not in own}


def resumed(path: Path, argv: Sequence[str]) -> Run:
    """The run of that checkpoint; UserError for a flag that would make it another run."""
    if [path] != state.checkpoints(path.parent)[-1:]:
        raise UserError(f"--checkpoint {path}: not the newest model-<step>.pt of its folder; name the folder to go on")
    saved = state.load(path)
    with state.fitting(path, "settings"):
        recipe = recipes.find(saved["settings"]["recipe"])
        before = from_dict(recipe.settings, saved["settings"])
    if (copied := path.with_name(density.FILE)).is_file():  # the file that --density named may be gone
        before = dataclasses.replace(before, density=str(copied))
    cfg = over(before, recipe, argv)
    if cfg.recipe == before.recipe:
        cfg = resolve(cfg)
    if cfg.precision == "auto":
        cfg = dataclasses.replace(cfg, precision=before.precision)
    changed = {name for name in as_dict(before) if getattr(cfg, name) != getattr(before, name)}
    if refused := sorted(changed - MAY_CHANGE):
        raise UserError(f"--{refused[0]} {getattr(cfg, refused[0])}: the run in the checkpoint has "
                        f"{getattr(before, refused[0]) or 'none'}; leave the flag out, or start a new run without "
                        "--checkpoint")
    if "epochs" in changed and "steps" not in changed:
        cfg = dataclasses.replace(cfg, steps=0)
    return build(cfg, saved, path)


def asked(argv: Sequence[str]) -> tuple[Run, Path | None]:
    """The run of that command line, and the checkpoint that it goes on from."""
    checkpoint = peek(argv).checkpoint
    path = None if checkpoint is None else state.find(checkpoint)
    return resumed(path, argv) if path else build(settings(argv)), path


def line(cfg: Config, spec: Spec) -> str:
    """The command that trains a run of those resolved settings on that data set, without what is its recipe's default
    and what makes no difference to the run."""
    recipe, words = recipes.find(cfg.recipe), ["python", "trainer.py"]
    default = as_dict(recipes.defaults(recipe, spec))
    always, left_out = {"dataset", "recipe"}, MAY_CHANGE - {"steps", "data_dir", "density"} | {"prefix", "train_dir"}
    if not datasets.published(cfg.dataset):  # whose defaults depend on what is at hand
        always |= {"labels", "batch_size"}
    if cfg.select == "validation":  # which are selected among
        left_out -= {"eval_every"}
    if cfg.labelled or not recipe.classifies:
        left_out |= {"labels"}
    for name, value in as_dict(cfg).items():
        if name not in left_out and (name in always or value != default[name]):
            words += ([f"--{name}" if value else f"--no_{name}"] if isinstance(value, bool) else
                      [f"--{name}", *map(str, value if isinstance(value, list) else [value])])
    return shlex.join(words)


def settled(run: Run) -> dict[str, Any]:
    """The settings of a run and where its images are, as plain values."""
    return as_dict(run.cfg) | {"data": run.pipeline.storage.place}


def begin(argv: Sequence[str]) -> loop.Training:
    """The run of that command line, ready to train in its folder, which it prints."""
    return start.prepare(*asked(argv))
