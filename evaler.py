"""Evaluate a trained classifier on the whole test set and draw its run; or put it to use.

    python evaler.py --checkpoint train_dir                        # the checkpoint written last
    python evaler.py --checkpoint RUN/model-420.pt                 # a certain one
    python evaler.py --checkpoint RUN --generate 1000              # images, and how near they come to the test images
    python evaler.py --checkpoint RUN --suggest 20                 # images whose labels would help most
    python evaler.py --checkpoint RUN --export classifier.pt2      # or .onnx: without this repository
"""
import dataclasses
import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import recipes
from config import UserError, Within, flags, guarded, parse, within
from engine import calibration, card, evaluate, export, figures, generated, report, state, suggestion

PUBLISHED = Path("figure/result")
# What SSGAN-Tensorflow shows in its README, and of a point set the classifier without unlabelled points.
PUBLIC = ("samples.png", "training.gif", "s_loss.png", "d_loss_real.png", "d_loss_fake.png", "d_loss.png", "g_loss.png",
          "accuracy.png", "labels_alone.png")


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of one evaluation; everything else is in the checkpoint."""

    checkpoint: str
    """Run folder, folder of runs (the one that wrote last), or a model-<step>.pt."""
    publish: bool = False
    """Copy the pictures that the README shows to figure/result/<dataset>/."""
    device: str = ""
    """auto, cpu, cuda or cuda:N; if not given, as in training where this machine has that."""
    data_dir: str = ""
    """Folder of the data sets; if not given, as in training."""
    suggest: Annotated[int | None, Within(1, 10_000)] = None
    """Write a table and a picture of so many training images to label next, in place of an evaluation."""
    export: str = ""
    """Write the classifier to this file, .pt2 or .onnx, in place of an evaluation."""
    generate: Annotated[int | None, Within(1, 1e6)] = None
    """Write so many generated images, pictures and scores of them to eval/, in place of an evaluation."""
    format: generated.Format = "grid"
    """Of --generate: one picture, a PNG file for each image, or one HDF5 file."""
    seed: Annotated[int | None, Within(0, 2**32 - 1)] = None
    """Of --generate and --suggest: decides the images; if not given, as in training."""
    scorer: str = ""
    """Of --generate: a run (as --checkpoint) whose classifier scores the images too."""


def draw(run: evaluate.Restored, classes: Tensor, result: dict[str, Any], labelled: np.ndarray,
         folder: Path) -> list[Path]:
    """Every picture that the run in `folder` with those labelled rows allows, into its eval/; their paths."""
    drawn = []

    def new(name: str) -> Path:
        drawn.append(folder / "eval" / name)
        return drawn[-1]

    cfg, arrays, names = run.cfg, run.data.arrays, run.data.class_names
    which = f"named by {Path(cfg.labelled).name}" if cfg.labelled else f"label seed {cfg.label_seed}"
    labels = f"{cfg.labels} labels ({which})" if names else "no labels"
    title = f"{cfg.recipe} on {cfg.dataset}, {labels}, seed {cfg.seed}"
    steps = f"training step ({cfg.steps / cfg.epochs:g} steps per epoch)"
    seen = figures.progress(run.nets, run.averaged, run.data, labelled, cfg.seed, run.device)
    if seen is not None:
        Image.fromarray(seen).save(new("samples.png"))
    drawn += figures.animation(folder / "eval" / "training.gif", sorted((folder / "samples").glob("[0-9]*.png")))
    curves, beside = report.curves(folder), result.get("supervised_baseline")
    if beside:  # a classifier of points has pictures of its training too
        for last in sorted((folder.parent / beside["run"] / "samples").glob("[0-9]*.png"))[-1:]:
            shutil.copyfile(last, new("labels_alone.png"))
    drawn += figures.losses(folder / "eval", curves, title, steps)
    if "accuracy/test" in curves:
        figures.accuracies(new("accuracy.png"), curves, title, steps, beside and beside["accuracy"])
    if not names:
        return drawn
    title += f"\nstep {result['step']}, {result['errors']} of {result['test_images']} test images wrong"
    figures.confusion(new("confusion.png"), result["confusion"], names, title)
    figures.reliability(new("reliability.png"), evaluate.calibration(classes, arrays.test_label), result["ece"], title)
    if result["errors"] and not run.data.spec.points:
        figures.mistakes(new("errors.png"), arrays.test_image, arrays.test_label,
                         evaluate.probabilities(classes).numpy(), names, title)
    return drawn


def publish(pictures: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        if picture.name in PUBLIC:
            print(shutil.copyfile(picture, folder / picture.name))


def evaluation(options: Options, run: evaluate.Restored, saved: dict[str, Any], path: Path) -> None:
    classes = evaluate.predict(run.averaged, run.data.arrays.test_image, run.device).classes
    result = evaluate.judge(run, classes, saved, path)
    folder = path.parent / "eval"
    report.write(folder / "eval.json", result)
    report.store(folder / "card.md", card.text(result, recipes.find(run.cfg.recipe).citation, run.data.source,
                                               run.data.spec.shape).encode())
    print(report.summary(result), end="\n\n")
    pictures = draw(run, classes, result, saved["labelled"].numpy(), path.parent)
    print(folder / "eval.json", folder / "card.md", *pictures, sep="\n")
    if options.publish:
        publish(pictures, PUBLISHED / run.data.spec.name.lower())


def generate(options: Options, run: evaluate.Restored, saved: dict[str, Any], path: Path) -> None:
    generated.check(run, options.generate, options.format)
    judge = generated.scorer(options.scorer, run, path, options.data_dir, options.device)
    result, pictures = generated.make(run, saved, path, options.generate, options.format, options.seed, judge)
    print(generated.summary(result), *pictures, sep="\n")


def ask(options: Options, run: evaluate.Restored, saved: dict[str, Any], path: Path) -> None:
    images, labelled = run.data.arrays.train_image, saved["labelled"].numpy()
    features = evaluate.predict(run.averaged, images, run.device).features.numpy()
    seed = run.cfg.seed if options.seed is None else options.seed
    print(*suggestion.ask(path.parent / "eval", images, features, labelled, options.suggest, seed), sep="\n")


def export_(options: Options, run: evaluate.Restored, saved: dict[str, Any], path: Path) -> None:
    if not run.data.spec.classes:
        raise UserError(f"--export: a run of {run.cfg.recipe} has no classifier; name one of another recipe")
    target = Path(options.export)
    found = calibration.of(run, saved["labelled"].numpy())
    difference = export.write(target, run.averaged, found.temperature, run.data.arrays.test_image,
                              run.data.class_names)
    print(f"{target}: probabilities differ from the network's by {difference:.1e} at most; temperature "
          f"{found.temperature:.3f}, fitted on {found.fitted_on}")


ACTIONS = {"generate": generate, "suggest": ask, "export": export_}
ONLY = {"publish": ("evaluation",), "format": ("generate",), "scorer": ("generate",), "seed": ("generate", "suggest")}


def action(argv: list[str]) -> str:
    """What is asked for: one of ACTIONS, or an evaluation. UserError for two of them, or a flag of another."""
    given = flags(argv)
    asked = [name for name in ACTIONS if name in given] or ["evaluation"]
    if len(asked) > 1:
        raise UserError(f"--{asked[0]} --{asked[1]}: one at a time")
    for name, owners in ONLY.items():
        if name in given and asked[0] not in owners:
            raise UserError(f"--{name}: " + (f"not with --{asked[0]}" if "evaluation" in owners else
                                             f"only with --{' or --'.join(owners)}") + "; leave it out")
    return asked[0]


def main(argv: list[str]) -> None:
    options = parse(Options, argv, "evaler.py", __doc__)
    within(options)
    do = ACTIONS.get(action(argv), evaluation)
    path = state.find(options.checkpoint)
    saved = state.load(path)
    do(options, evaluate.restore(saved, path, options.data_dir, options.device), saved, path)


if __name__ == "__main__":
    torch.set_float32_matmul_precision("highest")
    guarded(main)
