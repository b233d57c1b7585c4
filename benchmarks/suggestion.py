"""What the labels of suggested images are worth beside those of a random balanced choice of as many images.

    python benchmarks/suggestion.py --dataset Digits --labels 20 --output FILE.json
    python benchmarks/suggestion.py --dataset MNIST --labels 50 --recipe improved-gan supervised

For each seed the images are those that `download.py --suggest` proposes before there is any run, and those that
`trainer.py --label_seed` chooses. The same recipe with the same seed is trained on each, and what counts is the test
accuracy of the last step. Suggested images are chosen without any label; theirs are looked up afterwards. A class of
which none was suggested cannot be learned: its test images are wrong, and count. The random choice has every class
equally often, by means of labels that nobody has before labelling: that is the published protocol.
"""
import dataclasses
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import datasets
import recipes
from benchmarks import common
from config import Count, CountOrNone, Seed, UserError, Within, guarded, parse, within
from datasets import splits, suggest
from engine import command, report, seeds, world

MEASURED = ("suggested", "random", "gain", "classes")


@dataclasses.dataclass(frozen=True)
class Options:
    """What is compared."""

    dataset: str = "Digits"
    """Data set, every training image of which has a label."""
    labels: Count = 20
    """Images that are labelled."""
    seeds: Count = 10
    """Number of seeds."""
    first_seed: Seed = 1
    """The first of them; each is the seed of the suggestion, of the random choice and of the training."""
    recipe: tuple[str, ...] = ("improved-gan",)
    """Recipes that are trained, each on both choices."""
    steps: CountOrNone = 0
    """Training steps (0: those of the recipe)."""
    epochs: Annotated[float, Within(0)] = 0.0
    """Passes over the unlabelled images (0: those of the recipe)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    data_dir: Path = Path("datasets")
    """Folder of the data sets."""
    train_dir: str = ""
    """Folder to keep the runs in (default: they are deleted)."""
    output: str = ""
    """JSON file for the table, with the rows, the device and the versions."""


def rows_to_label(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The rows of `download.py --suggest` on images of which none is labelled yet, the most valuable first."""
    return suggest.typical(suggest.plain_features(images, seed), np.empty(0, np.int64), count, seed)


def command_lines(options: Options, recipe: str, seed: int, rows: Path) -> list[list[str]]:
    """The trainer's, on the rows in that file and on the random choice."""
    shared = ["--recipe", recipe, "--dataset", options.dataset, "--data_dir", str(options.data_dir), "--device",
              options.device, "--train_dir", options.train_dir or str(rows.parent), "--seed", str(seed)]
    for flag in ("steps", "epochs"):
        if value := getattr(options, flag):
            shared += [f"--{flag}", str(value)]
    return [[*shared, "--labelled", str(rows)],
            [*shared, "--labels", str(options.labels), "--label_seed", str(seed)]]


def compare(options: Options, data: datasets.Data, names: list[str], folder: Path) -> tuple[list[dict[str, Any]], int]:
    """A row for each recipe and seed of which both runs came to their end, and the exit status of all runs."""
    rows, lines = [], []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        chosen = rows_to_label(data.arrays.train_image, options.labels, seed)
        file = folder / f"suggested_{seed}.txt"
        file.write_text("".join(f"{row}\n" for row in chosen))
        classes = len(np.unique(data.arrays.train_label[chosen]))
        for name in names:
            lines += command_lines(options, name, seed, file)
            rows.append({"dataset": data.spec.name, "labels": options.labels, "recipe": name, "seed": seed,
                         "classes": classes, "suggested_rows": chosen.tolist(), "steps": options.steps,
                         "epochs": options.epochs})
    outcomes = seeds.outcomes(lines, command.begin, world.device(options.device))
    shares = [report.share_right(said) for _, said in outcomes]
    found = [row | {"suggested": ours, "random": theirs, "gain": ours - theirs}
             for row, ours, theirs in zip(rows, shares[::2], shares[1::2], strict=True) if None not in (ours, theirs)]
    return found, max(status for status, _ in outcomes)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation of several rows, as rows."""
    shared = {name: rows[0][name] for name in ("dataset", "labels", "recipe")}
    return [shared | {"seed": what, "n": len(rows)} | {name: float(of(row[name] for row in rows)) for name in MEASURED}
            for what, of in (("mean", mean), ("std", stdev))]


def main(argv: list[str]) -> int:
    options = parse(Options, argv, "suggestion.py", __doc__)
    within(options)
    names = [recipes.find(name).name for name in options.recipe]
    data = datasets.load(options.dataset, options.data_dir)
    labels = data.arrays.train_label
    if not data.spec.classes or (labels < 0).any():
        raise UserError(f"--dataset {data.spec.name}: the labels of suggested images must be known; some are not")
    splits.choose(labels, data.spec.classes, options.labels, options.first_seed, 0)  # tells of a number that cannot be
    with tempfile.TemporaryDirectory() as folder:
        found, status = compare(options, data, names, Path(folder))
    table = common.Table(("dataset", "labels", "recipe", "seed", *MEASURED))
    for name in names:
        rows = [row for row in found if row["recipe"] == name]
        for row in rows + (summary(rows) if len(rows) > 1 else []):
            table.add(row)
    table.write(options.output, options.device)
    return status


if __name__ == "__main__":
    guarded(main)
