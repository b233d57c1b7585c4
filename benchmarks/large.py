"""A data set that is larger than memory: rate against the same images in memory, and resident memory.

    python benchmarks/large.py --gigabytes 20 --output FILE.json

Writes random images of 64 x 64 pixels, each beginning with its number, to a data.h5 in a temporary folder; walks one
whole epoch of the file and checks that every image came exactly once; then trains by turns on the file (--data disk)
and on a gigabyte of random images in memory; saves the run on the file and goes on with it and with its checkpoint.
"""
import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import h5py
import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import recipes
from benchmarks import common
from config import Config, Spec, UserError, Within, guarded, parse, within
from datasets import h5
from engine import state
from engine.run import Run, build, record

SHAPE, CLASSES, TEST = (64, 64, 3), 10, 100
SLICE = 5000  # images written at once
BLOCKS = 5


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured."""

    gigabytes: Annotated[float, Within(0.001)] = 20.0
    """Size of the file."""
    recipe: str = "improved-gan"
    """Recipe that is trained."""
    model: str = "mlp"
    """Networks that are trained."""
    seconds: common.Seconds = 60.0
    """Time for the comparison of the rates."""
    folder: str = ""
    """Folder on the disk that is measured (default: the system's temporary folder)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    output: str = ""
    """JSON file for the figures, with the device and the versions."""


def write(path: Path, images: int) -> None:
    """A data.h5 of that many random training images, written slice by slice."""
    rng = np.random.Generator(np.random.SFC64(0))
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        for part, count in (("train", images), ("test", TEST)):
            file[f"{part}/label"] = np.arange(count) % CLASSES
            array = file.create_dataset(f"{part}/image", (count, *SHAPE), np.uint8)
            for start in tqdm(range(0, count, SLICE), desc=f"writing {part}", unit="slice", disable=count < SLICE):
                some = rng.integers(0, 256, (min(SLICE, count - start), *SHAPE), dtype=np.uint8)
                some.reshape(len(some), -1)[:, :8] = np.arange(start, start + len(some)).view(np.uint8).reshape(-1, 8)
                array[start:start + len(some)] = some
        h5.describe(file, path.parent.name, list("0123456789"), "random bytes", *["not computed"] * 2)


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def steps(run: Run, count: int) -> float:
    """Training steps per second."""
    return common.rate(run.step, count, run.device)


def epoch(run: Run) -> Iterator[np.ndarray]:
    """The numbers of the images of one epoch, batch by batch, without training."""
    size = run.cfg.batch_size
    for i in range(len(run.pipeline.split.pool) // size):
        images, _ = run.pipeline.take("pool", 9, i * size, size)
        first = images[:, :, 0, :3].permute(0, 2, 1).flatten(1)
        yield first[:, :8].contiguous().cpu().numpy().view(np.int64)[:, 0]


def resumed_exactly(run: Run, folder: Path) -> bool:
    """Whether the run and its checkpoint go on with the same losses, bit by bit."""
    path = state.save(run.state.state_dict(), record(run), folder, keep=1)
    again = build(run.cfg, state.load(path))
    return all(torch.equal(*(each.step() for each in (run, again))) for _ in range(5))


def measure(options: Options, folder: Path) -> dict[str, Any]:
    count = int(options.gigabytes * 1e9 / np.prod(SHAPE)) // 100 * 100
    path = folder / "large" / "data.h5"
    write(path, count)
    spec = Spec("large", SHAPE, CLASSES)
    cfg: Config = recipes.defaults(recipes.find(options.recipe), spec)
    cfg = dataclasses.replace(cfg, model=options.model, data_dir=folder, device=options.device)
    with common.synthetic(spec, cfg, images=1000) as small:
        steps(small, 3)
        own = resident()  # of the process with its libraries and networks
    del small
    on_disk = build(dataclasses.replace(cfg, data="disk"))
    steps(on_disk, 3)
    each = max(1, round(options.seconds / 2 / BLOCKS * steps(on_disk, 3)))
    seen, peak = np.zeros(count, np.int64), resident()
    for numbers in tqdm(epoch(on_disk), desc="one epoch", total=count // cfg.batch_size, unit="batch"):
        np.add.at(seen, numbers, 1)
        peak = max(peak, resident())
    with common.synthetic(spec, cfg, images=int(1e9 / np.prod(SHAPE))) as in_memory:
        steps(in_memory, 3)
        rates = [(steps(on_disk, each), steps(in_memory, each))
                 for _ in tqdm(range(BLOCKS), desc="training", unit="block")]
    disk_its, memory_its = (median(column) for column in zip(*rates, strict=True))
    return {"recipe": cfg.recipe, "model": cfg.model, "images": count, "gigabytes": path.stat().st_size / 1e9,
            "disk_its": disk_its, "memory_its": memory_its, "ratio": median(d / m for d, m in rates),
            "megabytes_above_own": (peak - own) / 1e6, "each_image_once": bool((seen == 1).all()),
            "resumed_exactly": resumed_exactly(on_disk, folder)}


def main(argv: list[str]) -> None:
    options = parse(Options, argv, "large.py", __doc__)
    within(options)
    if options.folder and not Path(options.folder).is_dir():
        raise UserError(f"--folder {options.folder}: no such folder; make it, or leave the flag out")
    with tempfile.TemporaryDirectory(dir=options.folder or None) as folder:
        row = measure(options, Path(folder))
    table = common.Table(("recipe", "gigabytes", "images", "disk_its", "memory_its", "ratio", "megabytes_above_own",
                          "each_image_once", "resumed_exactly"))
    table.add(row)
    table.write(options.output, options.device)


if __name__ == "__main__":
    guarded(main)
