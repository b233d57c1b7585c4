"""Train a classifier on a few labelled and many unlabelled images: `python trainer.py --help` tells how."""
import engine.interrupt  # noqa: F401, before all that takes long

# isort: split
import contextlib
import dataclasses
import json

from config import guarded
from engine import command, loop, seeds, start, world
from engine.run import build, resolve


def main(argv: list[str]) -> int:
    lines = seeds.command_lines(argv)
    if len(lines) > 1:
        # Looked at before any of them starts, so that bad input is told once.
        every = [resolve(command.settings(line)) for line in lines]
        seeds.check_distinct(every)
        if every[0].dry_run:
            print(json.dumps([command.settled(command.asked(line)[0]) for line in lines], indent=1))
            return 0
        device = world.device(every[0].device)
        if device.type == "cpu":  # on a GPU the runs are built in this process anyhow
            build(dataclasses.replace(every[0], dry_run=True))
        return seeds.train(lines, command.begin, device, every[0].train_dir)
    run, path = command.asked(argv)
    if run.cfg.dry_run:
        print(json.dumps(command.settled(run), indent=1))
        return 0
    with contextlib.closing(start.prepare(run, path)) as training:
        if failed := loop.train([training])[0]:
            raise failed
    if not training.finished:
        print(training.hint(), file=loop.TOLD)
        return 130
    print(training.summary())
    return 0


if __name__ == "__main__":
    guarded(main)
