"""Every picture of a run, in its eval/ folder."""
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from engine import evaluate, figures, report

PUBLISHED = Path("figure/result")
# What SSGAN-Tensorflow shows in its README, and of a point set the classifier without unlabelled points.
PUBLIC = ("samples.png", "training.gif", "s_loss.png", "d_loss_real.png", "d_loss_fake.png", "d_loss.png", "g_loss.png",
          "accuracy.png", "labels_alone.png")


def draw(run: evaluate.Restored, classes: Tensor | None, result: dict[str, Any], labelled: np.ndarray,
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
    seen = (figures.drawn(run.averaged, cfg.seed, run.device) if run.recipe.evaluated == "density" else
            figures.progress(run.nets, run.averaged, run.data, labelled, cfg.seed, run.device))
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
