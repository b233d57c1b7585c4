"""What the benchmarks share: synthetic data sets, the machine's ceiling, tables."""
import contextlib
import dataclasses
import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

import datasets
from config import Config, Spec, UserError, Within
from datasets import h5
from engine import world
from engine.run import Run, build

Seconds = Annotated[float, Within(0.01)]
WARM_UP = 5  # steps that are not timed: what a library chooses, and CUDA graphs that are recorded, at first
IMAGES = {"Digits": 1437, "Circles": 2000, "MNIST": 60000, "Fashion": 60000, "SVHN": 73257,
          "CIFAR10": 50000}  # training images


@contextlib.contextmanager
def synthetic(spec: Spec, cfg: Config, images: int = 0, test: int = 100) -> Iterator[Run]:
    """A run of those settings on random bytes of that shape: as many training images as the data set of that name has,
    or `images`. What has files in the registry keeps its name, by which some networks are chosen."""
    name = spec.name if spec.name in datasets.DATASETS and not datasets.DATASETS[spec.name].embedded else "random"
    rng = np.random.default_rng(0)
    count = images or IMAGES[spec.name]
    train_image, test_image = (rng.integers(0, 256, (n, *spec.shape), dtype=np.uint8) for n in (count, test))
    arrays = h5.Arrays(train_image, np.arange(count) % spec.classes, test_image, np.arange(test) % spec.classes)
    with tempfile.TemporaryDirectory() as folder:
        h5.write(datasets.path(name, folder), arrays, name, [str(k) for k in range(spec.classes)], "random bytes")
        yield build(dataclasses.replace(cfg, dataset=name, data_dir=Path(folder)))


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(step: Callable[[], Any], count: int, device: torch.device) -> float:
    """Steps per second."""
    wait(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return count / (time.perf_counter() - start)


@functools.cache
def peak(device: torch.device, precision: str) -> float:
    """The machine's measured ceiling: TFLOP/s of the best of twenty large square products."""
    size = 8192 if device.type == "cuda" else 2048
    a = torch.randn(size, size, device=device, dtype=getattr(torch, precision))
    best = float("inf")
    for _ in range(20):
        wait(device)
        start = time.perf_counter()
        a @ a
        wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e12


def machine(device: str) -> dict[str, Any]:
    """What a figure depends on: device, versions, commit and date."""
    where = world.device(device)
    name = world.hardware(where) + ("" if where.type == "cuda" else f", {torch.get_num_threads()} threads")
    return {"device": name, "versions": world.versions(where), "commit": world.commit(),
            "date": time.strftime("%Y-%m-%d")}


class Table:
    """Rows printed as they come, and kept for a JSON file."""

    def __init__(self, columns: Sequence[str]):
        self.columns, self.rows = columns, []
        print("  ".join(columns))

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        cells = (row[column] for column in self.columns)
        print("  ".join((f"{cell:.4g}" if isinstance(cell, float) else str(cell)).rjust(len(column))
                        for cell, column in zip(cells, self.columns, strict=True)), flush=True)

    def save(self, path: str, device: str) -> dict[str, Any]:
        """Write the rows so far with the machine's facts, which are returned; a single row stands beside them, without
        a list. UserError if that cannot be."""
        facts = machine(device)
        found = facts | (self.rows[0] if len(self.rows) == 1 else {"rows": self.rows})
        if path:
            try:
                Path(path).write_text(json.dumps(found, indent=1) + "\n")
            except OSError as error:
                raise UserError(f"--output {path}: cannot be written ({error.strerror})") from None
        return facts

    def write(self, path: str, device: str) -> dict[str, Any]:
        """The same, and the facts are printed below the rows."""
        facts = self.save(path, device)
        print(", ".join(f"{name}: {value}" for name, value in facts.items() if name != "versions"))
        return facts
