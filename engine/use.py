"""What the evaluator does with a run. Each takes the command's options, the restored run, what its checkpoint held, and
the checkpoint's path; it writes files and prints what it found."""
from pathlib import Path
from typing import Any

from config import UserError
from engine import calibration, card, files, generated, report, suggestion
from engine import evaluate as judging
from engine import export as exports
from engine import predict as prediction
from engine.album import PUBLISHED, draw, publish


def evaluate(options: Any, run: judging.Restored, saved: dict[str, Any], path: Path) -> None:
    classes = None
    if run.recipe.classifies:
        classes = judging.predict(run.averaged, run.data.arrays.test_image, run.device).classes
    result = judging.judge(run, classes, saved, path)
    folder = path.parent / "eval"
    report.write(folder / "eval.json", result)
    files.store(folder / "card.md", card.text(result, run.recipe.citation, run.data.source,
                                               run.data.spec.shape).encode())
    print(report.summary(result), end="\n\n")
    pictures = draw(run, classes, result, saved["labelled"].numpy(), path.parent)
    print(folder / "eval.json", folder / "card.md", *pictures, sep="\n")
    if options.publish:
        publish(pictures, PUBLISHED / run.data.spec.name.lower())


def generate(options: Any, run: judging.Restored, saved: dict[str, Any], path: Path) -> None:
    generated.check(run, options.generate, options.format)
    judge = generated.scorer(options.scorer, run, path, options.data_dir, options.device)
    result, pictures = generated.make(run, saved, path, options.generate, options.format, options.seed, judge)
    print(generated.summary(result), *pictures, sep="\n")


def suggest(options: Any, run: judging.Restored, saved: dict[str, Any], path: Path) -> None:
    if run.recipe.evaluated == "density":
        raise UserError(f"--suggest: a run of {run.cfg.recipe} has no features of images; name one of another recipe")
    images, labelled = run.data.arrays.train_image, saved["labelled"].numpy()
    features = judging.predict(run.averaged, images, run.device).features.numpy()
    seed = run.cfg.seed if options.seed is None else options.seed
    print(*suggestion.ask(path.parent / "eval", images, features, labelled, options.suggest, seed), sep="\n")


def predict(options: Any, run: judging.Restored, saved: dict[str, Any], path: Path) -> None:
    _needs_classifier(run, "--predict")
    files = prediction.find(options.predict)
    read_by = calibration.of(run, saved["labelled"].numpy())
    useless = prediction.write(run, files, prediction.look(run, saved), read_by, options.output)
    print(f"{options.output}: {len(files) - useless} pictures, {useless} other files; temperature "
          f"{read_by.temperature:.3f}, fitted on {read_by.fitted_on}")


def _needs_classifier(run: judging.Restored, flag: str) -> None:
    if not run.recipe.classifies:
        raise UserError(f"{flag}: a run of {run.cfg.recipe} has no classifier; name one of another recipe")


def export(options: Any, run: judging.Restored, saved: dict[str, Any], path: Path) -> None:
    _needs_classifier(run, "--export")
    target = Path(options.export)
    found = calibration.of(run, saved["labelled"].numpy())
    difference = exports.write(target, run.averaged, found.temperature, run.data.arrays.test_image,
                              run.data.class_names)
    print(f"{target}: probabilities differ from the network's by {difference:.1e} at most; temperature "
          f"{found.temperature:.3f}, fitted on {found.fitted_on}")
