"""Several seeds of one configuration in one call, each a run of its own."""
import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

import datasets
import recipes
from config import Config, UserError, flags
from engine import loop, mean, report, state, world
from engine.run import divided

Begin = Callable[[Sequence[str]], loop.Training]  # the run of a command line, ready to train
AT_ONCE = 8  # runs on a GPU
SCRIPT = Path(__file__).resolve().parent.parent / "trainer.py"


def command_lines(argv: Sequence[str]) -> list[list[str]]:
    """The command line of each run that `argv` asks for: one per value of --seed and --label_seed, which go in pairs
    unless one of them has a single value. UserError if their numbers do not fit."""
    names = flags(argv)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--seed", nargs="*", default=[])
    parser.add_argument("--label_seed", "--label-seed", nargs="*", default=[])
    given, rest = parser.parse_known_args(argv)
    count = max(len(given.seed), len(given.label_seed))
    if count < 2:
        return [list(argv)]
    lines = [list(rest) for _ in range(count)]
    for flag, values in (("--seed", given.seed), ("--label_seed", given.label_seed)):
        if len(values) not in (0, 1, count):
            raise UserError(f"{flag} {' '.join(values)}: {len(values)} values beside {count} of the other seed; "
                            "give both the same number, or one of them a single value")
        if values:
            for line, value in zip(lines, values * (count // len(values)), strict=True):
                with contextlib.suppress(ValueError):  # not ours to refuse
                    value = str(int(value))  # 01 and +1 are 1
                line += [flag, value]
    if len(set(map(tuple, lines))) < count:
        raise UserError("--seed, --label_seed: two of these runs would be the same; give each pair once")
    if "checkpoint" in names:
        raise UserError("--seed: several seeds are new runs; resume each run by a --checkpoint command of its own")
    return lines


def check_distinct(every: Sequence[Config]) -> None:
    """UserError where two of those runs would be the same, because their label seeds choose the same images."""
    if len({cfg.seed for cfg in every}) == len(every):
        return
    first = every[0]
    data = datasets.load(first.dataset, first.data_dir, world.image_budget(torch.device("cpu")))
    data = data if recipes.find(first.recipe).classifies else data.without_labels()
    chosen = [(cfg.seed, divided(cfg, data.arrays.train_label, data.spec.classes, None)[1]) for cfg in every]
    if len({(seed, split.labelled.tobytes(), split.validation.tobytes()) for seed, split in chosen}) < len(every):
        raise UserError("--label_seed: each chooses the same labelled images, so that runs of one --seed would be the "
                        "same; give several values of --seed")


def train(lines: Sequence[Sequence[str]], begin: Begin, device: torch.device, folder: Path) -> int:
    """Train them all as `outcomes` does; prints and writes the mean of their accuracies too, as `mean.tell` does. The
    exit status is 0 if every run came to its end."""
    results = outcomes(lines, begin, device)
    runs = [{"command": f"python trainer.py {shlex.join(line)}", "status": status, "accuracy": report.share_right(said),
             **(mean.facts(*state.selected(found)) if (found := report.folder_named(said)) else {})}
            for line, (status, said) in zip(lines, results, strict=True)]
    mean.tell(runs, folder)
    if any(status == 130 for status, _ in results):
        print("Resume each run that stopped and start those that were not begun; then print the mean with\n"
              "python evaler.py --checkpoint RUN1 RUN2 ...", file=sys.stderr)
    return max(status for status, _ in results)


def outcomes(lines: Sequence[Sequence[str]], begin: Begin, device: torch.device) -> list[tuple[int, str]]:
    """Train them all: on a GPU AT_ONCE at once in this process, otherwise as many at once as there are cores, each in a
    process of one thread; small networks gain more from that than from threads. Prints each result; returns each exit
    status and what it said."""
    if device.type == "cuda":
        return in_groups(lines, begin, lambda: world.Lane(device))
    return in_processes(lines)


def in_groups(lines: Sequence[Sequence[str]], begin: Begin,
              lane: Callable[[], contextlib.AbstractContextManager]) -> list[tuple[int, str]]:
    """The `outcomes` of runs of which AT_ONCE share this process at a time; after an interrupt no others are begun."""
    results: list[tuple[int, str]] = []
    for start in range(0, len(lines), AT_ONCE):
        group = lines[start:start + AT_ONCE]
        if any(status == 130 for status, _ in results):
            results += [_not_begun(line) for line in group]
        else:
            results += in_turns(group, begin, [lane() for _ in group])
    return results


def in_turns(lines: Sequence[Sequence[str]], begin: Begin,
             lanes: Sequence[contextlib.AbstractContextManager]) -> list[tuple[int, str]]:
    """The `outcomes` of runs that share this process, each in a lane of its own, and make their steps in turns."""
    trainings = []
    try:
        for place, (line, lane) in enumerate(zip(lines, lanes, strict=True)):
            with lane:
                trainings.append(begin(line))
                trainings[-1].line = place
    except BaseException:
        for training in trainings:
            training.close()
        raise
    results = []
    for line, lane, training, failed in zip(lines, lanes, trainings, loop.train(trainings, lanes), strict=True):
        with lane:
            said = training.summary() if training.finished and not failed else ""
        print(f"{' '.join(line)}: {said or failed or training.hint()}", flush=True)
        results.append((0 if said else 2 if failed else 130, said))
    return results


def in_processes(lines: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """The `outcomes` of runs in processes of their own."""
    at_once = _cores()
    running: set[subprocess.Popen] = set()
    stopped: list[int] = []

    def stop(number: int, _) -> None:
        stopped.append(number)
        for process in running.copy():
            process.send_signal(number)

    def one(place: int) -> tuple[int, str]:
        if stopped:
            return _not_begun(lines[place])
        line = {"TQDM_POSITION": str(place % at_once)} if sys.stderr.isatty() else {}
        environment = os.environ | {"OMP_NUM_THREADS": "1", **line}
        with subprocess.Popen([sys.executable, SCRIPT, *lines[place]], stdout=subprocess.PIPE, text=True,
                              env=environment) as process:
            running.add(process)
            if stopped:  # since it was asked above
                process.send_signal(stopped[0])
            said = process.communicate()[0]
            running.discard(process)
        # In one write, newline and all, because others may print at the same moment.
        print(f"{' '.join(lines[place])}: {said.strip() or 'not finished'}\n", end="", flush=True)
        if process.returncode < 0:  # ended by a signal
            return 130 if stopped else 128 - process.returncode, ""
        return process.returncode, said

    previous = {number: signal.signal(number, stop) for number in loop.stopping()}
    try:
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(one, range(len(lines))))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _not_begun(line: Sequence[str]) -> tuple[int, str]:
    """The outcome, told, of a run before which an interrupt came."""
    print(f"{' '.join(line)}: not begun\n", end="", flush=True)
    return 130, ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
