"""Where the time of training goes: inside a step, and between steps at the default intervals.

    python benchmarks/breakdown.py --dataset MNIST --recipe improved-gan --output FILE.json --picture FILE.png
"""
import dataclasses
import itertools
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import recipes
from benchmarks import common
from config import Count, Precision, UserError, guarded, nearest, parse, within
from datasets import DATASETS
from engine import figures
from engine.run import Run
from engine.start import in_new_folder

# What an operator's name begins with decides; the first that fits counts.
KINDS = {"products": r"aten::(add|b|baddb)?mm$", "convolutions": r"aten::.*conv",
         "noise": r"aten::(random_|normal_|uniform_|randn|rand)", "weight norm": r"aten::_weight_norm",
         "optimisers and average": r"aten::_fused_adam|aten::_foreach|aten::lerp|Optimizer",
         "casts and copies": r"aten::(copy_|_to_copy|to|cat)$",
         "batch norm": r"aten::.*(batch|instance)_norm", "other operators": r"aten::"}
BESIDE = "written beside the steps"
OUTSIDE = "Python, autograd, launches and waiting"


@dataclasses.dataclass(frozen=True)
class Options:
    """What is looked at."""

    dataset: str = "MNIST"
    """Data set whose shape and number of images are used."""
    recipe: str = "improved-gan"
    """Recipe."""
    precision: Precision = "auto"
    """Arithmetic."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    steps: Count = 30
    """Steps that are looked at."""
    output: str = ""
    """JSON file for the table, with the device and the versions."""
    picture: str = ""
    """PNG file for a picture of the table."""


def operators(step: Callable[[], Any], steps: int, device: torch.device) -> dict[str, float]:
    """Milliseconds of a step by operator: on a CPU the time of the calling thread in the operator itself, on a GPU that
    of the kernels that it launches."""
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiler:
        common.rate(step, steps, device)
    return {event.key: (event.self_device_time_total if cuda else event.self_cpu_time_total) / steps / 1000
            for event in profiler.key_averages() if event.device_type == DeviceType.CPU}


def kinds(times: dict[str, float]) -> Counter[str]:
    """The times of `operators` by kind."""
    found: Counter[str] = Counter()
    for name, spent in times.items():
        if kind := next((kind for kind, names in KINDS.items() if re.match(names, name)), None):
            found[kind] += spent
    return found


def batches(run: Run, steps: int) -> tuple[float, Counter[str]]:
    """Milliseconds a step of making its batches, rows chosen, gathered, augmented and cast, and their parts by kind of
    operator. On a GPU all of it is that of kernels, since rows are chosen while it computes."""
    step, positions = torch.zeros((), device=run.device), itertools.count()

    def make() -> None:
        position = next(positions)
        for number, player in enumerate(run.players):
            labelled = run.state.evaluated in player.trains
            for turn in range(player.times):
                run.pipeline.batch(run.pipeline.fetch(number, position * player.times + turn, labelled), step, None)

    common.rate(make, common.WARM_UP, run.device)
    parts = operators(make, steps, run.device)
    whole = sum(parts.values()) if run.device.type == "cuda" else 1000 / common.rate(make, steps, run.device)
    return whole, kinds(parts)


def inside(eager: Run, run: Run, steps: int) -> dict[str, float]:
    """Milliseconds of a step of `run` by kind of operator, as they are in `eager`, the same run without a CUDA graph,
    which would not tell them apart; batches, made of many kinds, as timed alone. What the step's whole time leaves is
    the last entry."""
    for step in (eager.step, run.step):
        common.rate(step, common.WARM_UP, run.device)
    made, parts = batches(eager, steps)
    found = kinds(operators(eager.step, steps, run.device)) - parts
    found["batches"] = made
    # The profiler slows small operators down, so the shares are scaled to the step without it.
    whole = 1000 / common.rate(run.step, steps, run.device)
    found[OUTSIDE] = max(0.0, whole - sum(found.values()))
    return {kind: value * whole / sum(found.values()) for kind, value in found.items()}


def between(run: Run) -> dict[str, float]:
    """Milliseconds a step of what the loop does now and then, at the default intervals, until the next step can begin;
    what another thread writes beside the steps after that is an entry of its own, as if they waited for it."""
    with tempfile.TemporaryDirectory() as folder, tqdm(disable=True) as bar:
        training = in_new_folder(run._replace(cfg=dataclasses.replace(run.cfg, train_dir=Path(folder))))
        step = run.step
        jobs = {"losses to the log": (training._flush, (bar,), run.cfg.log_every),
                "evaluation": (training._evaluate, (bar,), run.cfg.eval_every),
                "samples": (training._pictures, (), getattr(run.cfg, "sample_every", 0)),
                "checkpoints": (training._save, (), run.cfg.save_every)}
        found, beside = {}, 0.0
        for name, (job, arguments, interval) in jobs.items():
            if not interval:
                continue
            times, written = [], []
            for _ in range(3):
                # When the others' turn comes the losses have gone to the log.
                training.waiting = [step()] * run.cfg.log_every if name == "losses to the log" else []
                training.state.losses = []
                common.wait(run.device)
                start = time.perf_counter()
                job(*arguments)
                common.wait(run.device)
                times.append(time.perf_counter() - start)
                training.writer.wait()
                written.append(time.perf_counter() - start)
            found[name] = 1000 * min(times) / interval
            beside += 1000 * (min(written) - min(times)) / interval
        training.close()
    return found | {BESIDE: beside}


def draw(path: str, table: dict[str, float], title: str) -> None:
    """A bar for each entry."""
    names, total = sorted(table, key=table.get), sum(table.values())
    try:
        with figures.canvas(Path(path), (8, 0.35 * len(names) + 1)) as figure:
            axes = figure.subplots()
            axes.grid(False)
            bars = axes.barh(names, [table[name] for name in names])
            axes.bar_label(bars, [f" {table[name]:.2f} ms, {table[name] / total:.1%}" for name in names])
            axes.set(xlabel="milliseconds a step", xlim=(0, 1.35 * max(table.values())))
            axes.set_title(title, fontsize=10)
    except OSError as error:
        raise UserError(f"--picture {path}: cannot be written ({error.strerror})") from None


def main(argv: list[str]) -> None:
    options = parse(Options, argv, "breakdown.py", __doc__)
    within(options)
    spec = DATASETS[nearest(options.dataset, DATASETS, "--dataset")].spec
    cfg = recipes.defaults(recipes.find(options.recipe), spec)
    cfg = dataclasses.replace(cfg, precision=options.precision, device=options.device)
    with (common.synthetic(spec, dataclasses.replace(cfg, graph=False)) as eager,
          common.synthetic(spec, cfg, test=10000) as run):
        table = inside(eager, run, options.steps) | between(run)
    rows = common.Table(("what", "ms_per_step", "share"))
    for name, value in sorted(table.items(), key=lambda item: -item[1]):
        rows.add({"what": name, "ms_per_step": value, "share": value / sum(table.values())})
    facts = rows.write(options.output, options.device)
    if options.picture:
        draw(options.picture, table, f"{cfg.recipe} on {spec.name}, {run.cfg.precision}, {facts['device']}")


if __name__ == "__main__":
    guarded(main)
