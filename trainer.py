"""Train a classifier on a few labelled and many unlabelled images.

    python trainer.py --dataset SVHN                     # a recipe's published settings for that data set
    python trainer.py --dataset SVHN --help              # what they are
    python trainer.py --checkpoint train_dir/latest      # go on from the newest checkpoint of a run
"""
import argparse
import dataclasses
import json
import sys
from pathlib import Path

import datasets
import recipes
from config import Config, UserError, as_dict, from_dict, guarded, parse
from engine import loop, state
from engine.run import build

MAY_CHANGE = {"steps", "epochs", "device", "train_dir", "data_dir", "log_every", "eval_every", "sample_every",
              "save_every", "keep", "checkpoint", "dry_run"}  # on resume


def peek(argv: list[str]) -> argparse.Namespace:
    """The flags that decide what the others' defaults are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, default in (("dataset", Config.dataset), ("recipe", Config.recipe), ("checkpoint", "")):
        parser.add_argument(f"--{name}", default=default, const=default, nargs="?")
    parser.add_argument("--data_dir", "--data-dir", default=Config.data_dir, const=Config.data_dir, nargs="?",
                        type=Path)
    return parser.parse_known_args(argv)[0]


def resumed(cfg: Config, before: Config) -> Config:
    """The settings to go on with; UserError for a flag that would make it another run."""
    changed = {name for name in as_dict(before) if getattr(cfg, name) != getattr(before, name)}
    if refused := sorted(changed - MAY_CHANGE):
        raise UserError(f"--{refused[0]} {getattr(cfg, refused[0])}: the run in the checkpoint has "
                        f"{getattr(before, refused[0])}; leave the flag out, or start a new run without --checkpoint")
    return dataclasses.replace(cfg, steps=0) if "epochs" in changed and "steps" not in changed else cfg


def main(argv: list[str]) -> int:
    first = peek(argv)
    if first.checkpoint:
        path = state.find(first.checkpoint)
        if path != state.checkpoints(path.parent)[-1]:
            raise UserError(f"--checkpoint {path}: not the newest of its run; name the folder {path.parent} to go on")
        saved = state.load(path)
        before = from_dict(recipes.find(saved["settings"]["recipe"]).settings, saved["settings"])
        cfg = resumed(parse(type(before), argv, "trainer.py", __doc__, before), before)
    else:
        saved, recipe = None, recipes.find(first.recipe)
        default = recipes.defaults(recipe, datasets.spec(first.dataset, first.data_dir))
        cfg = parse(recipe.settings, argv, "trainer.py", __doc__, default)
    run = build(cfg, saved)
    if cfg.dry_run:
        print(json.dumps(as_dict(run.cfg), indent=1))
        return 0
    training = loop.go_on(run, path.parent) if saved else loop.start(run)
    print(f"{run.cfg.recipe} on {run.cfg.dataset}: {run.cfg.labels} of {len(run.pipeline.split.pool)} images labelled, "
          f"{run.cfg.steps} steps on {run.device}, folder {training.folder}", file=sys.stderr)
    finished = training.go()
    if not finished:
        print(f"stopped at step {run.state.step}; go on with: python trainer.py --checkpoint {training.folder}",
              file=sys.stderr)
        return 130
    print(training.summary())
    return 0


if __name__ == "__main__":
    guarded(main)
