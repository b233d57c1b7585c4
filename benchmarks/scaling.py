"""What a step costs as one thing grows: batch size, number of images, image size, seeds side by side.

    python benchmarks/scaling.py --output FILE.json
    python benchmarks/scaling.py --vary batch_size images
"""
import dataclasses
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import recipes
from benchmarks import common
from config import Config, Spec, guarded, nearest, parse, within
from datasets import DATASETS

TRAINER = Path(__file__).resolve().parent.parent / "trainer.py"


@dataclasses.dataclass(frozen=True)
class Options:
    """What is varied."""

    vary: tuple[str, ...] = ()
    """batch_size, images, image_size, seeds; all of them if none is named."""
    most: float = float("inf")
    """Largest value of each."""
    seconds: common.Seconds = 10.0
    """Time for each value."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    output: str = ""
    """JSON file for the table, with the device and the versions."""


def steps_per_second(spec: Spec, options: Options, images: int = 0, recipe: str = "improved-gan", **changes) -> float:
    """Of that recipe with its settings for `spec`, but for the changes."""
    cfg: Config = recipes.defaults(recipes.find(recipe), spec)
    with common.synthetic(spec, dataclasses.replace(cfg, device=options.device, **changes), images) as run:
        step = run.step
        common.rate(step, common.WARM_UP, run.device)
        once = common.rate(step, 3, run.device)
        return common.rate(step, max(3, round(options.seconds * once)), run.device)


def batch_size(value: int, options: Options) -> tuple[float, float]:
    """improved-gan on MNIST."""
    rate = steps_per_second(DATASETS["MNIST"].spec, options, batch_size=value)
    return rate, rate * value


def images(value: int, options: Options) -> tuple[float, float]:
    """improved-gan on images of the digits' size."""
    spec = Spec("random", DATASETS["Digits"].shape, 10)
    rate = steps_per_second(spec, options, images=value, model="mlp", labels=50)
    return rate, rate * 100


def image_size(value: int, options: Options) -> tuple[float, float]:
    """ssgan on colour images, batch 16."""
    rate = steps_per_second(Spec("random", (value, value, 3), 10), options, images=1000, recipe="ssgan", labels=100,
                            batch_size=16)
    return rate, rate * 16


def seeds(value: int, options: Options) -> tuple[float, float]:
    """improved-gan on the digits: steps per second of all runs together, without the time to start."""
    def seconds(steps: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            subprocess.run([sys.executable, TRAINER, "--steps", str(steps), "--device", options.device, "--train_dir",
                            folder, "--seed", *map(str, range(1, value + 1))], check=True, capture_output=True)
            return time.perf_counter() - start

    spec = DATASETS["Digits"].spec
    alone = steps_per_second(spec, dataclasses.replace(options, seconds=1.0))
    few, many = 100, 100 + max(100, round(alone * options.seconds))
    rate = value * (many - few) / (seconds(many) - seconds(few))
    return rate, rate * recipes.defaults(recipes.find("improved-gan"), spec).batch_size


VARIED: dict[str, tuple[Callable[[int, Options], tuple[float, float]], tuple[int, ...]]] = {
    "batch_size": (batch_size, (10, 30, 100, 300, 1000)),
    "images": (images, (1000, 10_000, 100_000, 1_000_000, 10_000_000)),
    "image_size": (image_size, (16, 32, 64, 128, 256)),
    "seeds": (seeds, (1, 2, 4))}


def rows(options: Options) -> Iterator[dict[str, Any]]:
    """The table, row by row as it is measured."""
    for name in [nearest(name, VARIED, "--vary") for name in options.vary] or VARIED:
        measure, values = VARIED[name]
        for value in values:
            if value <= options.most:
                rate, per_second = measure(value, options)
                yield {"varied": name, "value": value, "steps_per_second": rate,
                       "unlabelled_images_per_second": per_second}


def main(argv: list[str]) -> None:
    options = parse(Options, argv, "scaling.py", __doc__)
    within(options)
    table = common.Table(("varied", "value", "steps_per_second", "unlabelled_images_per_second"))
    for row in rows(options):
        table.add(row)
        table.save(options.output, options.device)  # at once: the whole table takes long
    table.write(options.output, options.device)


if __name__ == "__main__":
    guarded(main)
