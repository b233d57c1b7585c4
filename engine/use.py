"""What the evaluator does with a run. Each action takes the command's options, the restored run, what its checkpoint
held, and the checkpoint's path; it writes files and prints what it found."""
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

import datasets
from config import UserError
from datasets import files
from engine import calibration, command, evaluate, export, figures, generated, labels, predict, report, restore

PUBLISHED = Path("figure/result")


def evaluate_run(options: Any, run: restore.Restored, saved: dict[str, Any], path: Path) -> None:
    classes = None
    if run.recipe.classifies:
        classes = evaluate.predict(run.averaged, run.data.arrays.test_image, run.device).classes
    result = evaluate.result(run, classes, saved, path) | {"command": command.line(run.cfg, run.data.spec)}
    folder = path.parent / "eval"
    report.write(folder / "eval.json", result)
    page = report.card(result, run.recipe.citation, run.data.source, run.data.spec.shape)
    files.store(folder / "card.md", page.encode())
    print(report.summary(result), end="\n\n")
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as new:
            drawn = draw(run, classes, result, saved["labelled"].numpy(), path.parent, Path(new))
            pictures = [picture.replace(folder / picture.name) for picture in drawn]
    except OSError as error:
        raise UserError(f"{folder}: its pictures cannot be written ({error.strerror})") from None
    for name in {"labels_alone.png", "errors.png"} - {picture.name for picture in pictures}:
        (folder / name).unlink(missing_ok=True)  # of a run beside it, or of errors, that are there no more
    print(folder / "eval.json", folder / "card.md", *pictures, sep="\n")
    if options.publish:
        publish(pictures, PUBLISHED / run.data.spec.name.lower())


def draw(run: restore.Restored, classes: Tensor | None, result: dict[str, Any], labelled: np.ndarray,
         folder: Path, into: Path) -> list[Path]:
    """Every picture that the run in `folder` with those labelled rows allows; their paths."""
    drawn = []

    def new(name: str) -> Path:
        drawn.append(into / name)
        return drawn[-1]

    cfg, arrays, names = run.cfg, run.data.arrays, run.data.class_names
    which = f"named by {Path(cfg.labelled).name}" if cfg.labelled else f"label seed {cfg.label_seed}"
    known = f"{cfg.labels} labels ({which})" if names else "no labels"
    title = f"{cfg.recipe} on {cfg.dataset}, {known}, seed {cfg.seed}"
    steps = f"training step ({cfg.steps / cfg.epochs:g} steps per epoch)"
    seen = (figures.drawn(run.averaged, cfg.seed, run.device) if run.recipe.evaluated == "density" else
            figures.progress(run.nets, run.averaged, run.data, labelled, cfg.seed, run.device))
    if seen is not None:
        Image.fromarray(seen).save(new("samples.png"))
    drawn += figures.animation(into / "training.gif", figures.pictures(folder))
    curves, beside = report.curves(folder), result.get("supervised_baseline")
    if beside:  # a classifier of points has pictures of its training too
        for last in figures.pictures(folder.resolve().parent / beside["run"])[-1:]:
            shutil.copyfile(last, new("labels_alone.png"))
    drawn += figures.losses(into, curves, title, steps)
    if "accuracy/test" in curves:
        figures.accuracies(new("accuracy.png"), curves, title, steps, beside and beside["accuracy"])
    if not names:
        return drawn
    title += f"\nstep {result['step']}, {result['errors']} of {result['test_images']} test images wrong"
    figures.confusion(new("confusion.png"), result["confusion"], names, title)
    figures.reliability(new("reliability.png"), evaluate.calibration(classes, arrays.test_label), result["ece"], title)
    if result["errors"] and not run.data.spec.points:
        figures.mistakes(new("errors.png"), arrays.test_image, arrays.test_label,
                         classes.softmax(1).numpy(), names, title)
    return drawn


def publish(pictures: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        print(shutil.copyfile(picture, folder / picture.name))


def generate_run(options: Any, run: restore.Restored, saved: dict[str, Any], path: Path) -> None:
    generated.check(run, options.generate, options.format)
    judge = generated.scorer(options.scorer, run, path, options.data_dir, options.device)
    result, pictures = generated.make(run, saved, path, options.generate, options.format, options.seed, judge)
    print(generated.summary(result), *pictures, sep="\n")


def suggest_run(options: Any, run: restore.Restored, saved: dict[str, Any], path: Path) -> None:
    if run.recipe.evaluated == "density":
        raise UserError(f"--suggest: a run of {run.cfg.recipe} has no features of images; name one of another recipe")
    features = evaluate.predict(run.averaged, run.data.arrays.train_image, run.device).features.numpy()
    seed = run.cfg.seed if options.seed is None else options.seed
    home = datasets.home(run.cfg.dataset, Path(options.data_dir or run.cfg.data_dir)).parent
    labels.ask(path.parent / "eval", run.now, home, features, saved["labelled"].numpy(), options.suggest, seed, run.cfg)


def predict_run(options: Any, run: restore.Restored, saved: dict[str, Any], path: Path) -> None:
    _needs_classifier(run, "--predict")
    found, look = predict.find(options.predict), predict.look(run, saved)
    read_by = calibration.of(run, saved)
    pictures, others = predict.write(run, found, look, read_by, options.output)
    print(f"{options.output}: {pictures} pictures, {others} other files; {read_by.told()}")


def _needs_classifier(run: restore.Restored, flag: str) -> None:
    if not run.recipe.classifies:
        raise UserError(f"{flag}: a run of {run.cfg.recipe} has no classifier; name one of another recipe")


def export_run(options: Any, run: restore.Restored, saved: dict[str, Any], path: Path) -> None:
    _needs_classifier(run, "--export")
    target = Path(options.export)
    found = calibration.of(run, saved)
    difference = export.write(target, run.averaged, found.temperature, run.data.arrays.test_image,
                              run.data.class_names, saved["data"]["resize"])
    print(f"{target}: probabilities differ from the network's by {difference:.1e} at most; {found.told()}")


ACTIONS = {"evaluate": evaluate_run, "generate": generate_run, "suggest": suggest_run, "predict": predict_run,
           "export": export_run}
