"""What several seeds in one call print."""
import contextlib
import dataclasses
import io
import json
import os
import shlex
import signal
import sys

import pytest
import torch

from config import UserError
from engine import loop, report, seeds, start, state, world
from engine.run import record
from tests.steps import assert_bitwise, weights


class Writes(io.StringIO):
    """Keeps what is written piece by piece."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def write(self, text):
        self.pieces.append(text)


def test_lines_of_runs_that_end_together_do_not_run_into_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(seeds, "SCRIPT", tmp_path / "stopped.py")
    seeds.SCRIPT.write_text("raise SystemExit(130)")
    monkeypatch.setattr(sys, "stdout", Writes())
    found = seeds.in_processes([["--seed", "1"], ["--seed", "2"]])
    assert found == [(130, "")] * 2
    assert sorted(filter(None, sys.stdout.pieces)) == ["--seed 1: not finished\n", "--seed 2: not finished\n"]


ON_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize(("device", "place"), [
    ("cpu", "device"), ("cpu", "host"),
    pytest.param("cuda", "device", marks=ON_CUDA), pytest.param("cuda", "host", marks=ON_CUDA)])
def test_runs_that_share_a_process_are_the_runs_alone(device, place, build, capsys):
    """Also where one of them fails on its way."""
    where, begun = torch.device(device), {}
    changes = {"device": device, "data": place, "steps": 14, "eval_every": 5, "save_every": 3, "log_every": 2}

    def begin(line):
        begun[line] = build(seed=int(line), prefix=line, **changes)
        if line == "2":
            begun[line].state.nets["D"].hidden[0].bias.data.fill_(torch.inf)
        return start.in_new_folder(begun[line])

    lanes = [world.Lane(where) if device == "cuda" else contextlib.nullcontext() for _ in range(4)]
    results = seeds.in_turns(["1", "2", "3", "4"], begin, lanes)
    assert [status for status, _ in results] == [0, 2, 0, 0]
    said, told = capsys.readouterr()
    assert "\x1b" not in told  # the moves of a cursor, which a file has not
    said = said.splitlines()
    assert [line[:3] for line in said if line[1:2] == ":"] == ["1: ", "2: ", "3: ", "4: "]
    for line in ("1", "3", "4"):
        alone = build(seed=int(line), **changes)
        assert loop.train([start.in_new_folder(alone)]) == [None]
        assert_bitwise(weights(begun[line]), weights(alone))


@pytest.mark.parametrize("error", [UserError("--seed 2: no"), KeyboardInterrupt()])
def test_what_ends_the_building_of_a_later_run_leaves_no_folder_of_the_first(error, build, tmp_path):
    def begin(line):
        if line == "2":
            raise error
        return start.in_new_folder(build(seed=1))

    with pytest.raises(type(error)):
        seeds.in_turns(["1", "2"], begin, [contextlib.nullcontext()] * 2)
    assert not list((tmp_path / "train_dir").glob("*"))


def watched(run, at, then):
    """The run, ready; its step number `at` does `then` instead."""
    def step():
        if run.state.step == at:
            then()
        return taken()

    taken = run.step
    return start.in_new_folder(run._replace(step=step))


def test_an_interrupt_leaves_a_checkpoint_of_each_run_and_begins_no_others(build, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(seeds, "AT_ONCE", 2)

    def begin(line):
        run = build(seed=int(line), prefix=line, steps=50)
        return watched(run, 3, (lambda: os.kill(os.getpid(), signal.SIGINT)) if line == "1" else int)

    assert seeds.in_groups(["1", "2", "3"], begin, contextlib.nullcontext) == [(130, "")] * 3
    folders = sorted((tmp_path / "train_dir").glob("*"))
    assert [[path.name for path in folder.glob("*.pt")] for folder in folders] == [["model-4.pt"], ["model-3.pt"]]
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{line}: stopped at step {step}; go on with: python trainer.py --checkpoint {folder}"
                    for line, step, folder in zip("12", (4, 3), folders, strict=True)] + ["3: not begun"]


@pytest.mark.parametrize("name", ["plain", "with space", "of two\nlines", "it's"])
def test_the_folder_of_a_run_is_read_from_what_it_says(name, build, tmp_path):
    training = start.in_new_folder(build("supervised", steps=1, train_dir=tmp_path / name))
    said = training.hint()
    assert shlex.split(said)[-2:] == ["--checkpoint", str(training.folder)]
    assert report.folder_named(said) == str(training.folder)
    for _ in training.steps():
        pass
    assert report.folder_named(f"{training.summary()}\n") == str(training.folder)


def test_an_error_in_one_run_leaves_a_checkpoint_of_the_others(build, tmp_path):
    def fail():
        raise MemoryError("no more")

    trainings = [watched(build(seed=seed, prefix=f"seed{seed}", steps=50), 4, fail if seed == 1 else int)
                 for seed in (1, 2)]
    with pytest.raises(MemoryError):
        loop.train(trainings)
    first, second = sorted((tmp_path / "train_dir").glob("*"))
    assert not list(first.glob("*.pt"))
    assert [path.name for path in second.glob("*.pt")] == ["model-4.pt"]


@pytest.mark.parametrize(("recipe", "changes"), [
    ("improved-gan", {"labelled": "all"}), ("improved-gan", {"labels": 80}), ("dcgan", {})])  # of 80
def test_label_seeds_that_choose_nothing_are_refused(recipe, changes, settings):
    runs = [dataclasses.replace(settings(recipe), label_seed=seed, **changes) for seed in (1, 2)]
    with pytest.raises(UserError, match="--label_seed: each chooses the same labelled images"):
        seeds.check_distinct(runs)
    seeds.check_distinct([dataclasses.replace(cfg, seed=cfg.label_seed) for cfg in runs])


def test_label_seeds_that_choose_something_are_not(settings):
    runs = [dataclasses.replace(settings(), label_seed=seed) for seed in (1, 2)]
    seeds.check_distinct(runs)


def test_a_mean_tells_of_the_runs_that_are_not_in_it(build, tmp_path, monkeypatch, capsys):
    for seed in (1, 3):
        run, folder = build(seed=seed), tmp_path / f"run{seed}"
        folder.mkdir()
        state.save(run.state.state_dict(), record(run), folder, keep=1)
    said = [(0, f"test accuracy 90.00% (1 of 10 wrong)\ndraw with: --checkpoint {tmp_path / 'run1'}"), (2, ""),
            (0, f"test accuracy 80.00% (2 of 10 wrong)\ndraw with: --checkpoint {tmp_path / 'run3'}")]
    monkeypatch.setattr(seeds, "outcomes", lambda *_: said)
    assert seeds.train([["--seed", str(seed)] for seed in (1, 2, 3)], None, torch.device("cpu"), tmp_path) == 2
    assert "85.00 ± 7.07 % (mean and sample standard deviation of 2 runs; 1 more did not finish)" in \
        capsys.readouterr().out
    told, = (json.loads(path.read_text()) for path in tmp_path.glob("seeds-*.json"))
    assert [(run.get("run"), run.get("seed")) for run in told["runs"]] == [("run1", 1), (None, None), ("run3", 3)]
    assert (told["n"], [run["accuracy"] for run in told["runs"]]) == (2, [0.9, None, 0.8])
    assert [run["status"] for run in told["runs"]] == [0, 2, 0]


@pytest.mark.parametrize("words", [["--seed", "1", "01"], ["--seed", "+1", "1"], ["--seed", "10", "1_0"],
                                   ["--seed", "1", "2", "1", "--label_seed", "3", "3", "3"]])
def test_the_same_run_twice_is_refused(words):
    with pytest.raises(UserError, match="two of these runs would be the same"):
        seeds.command_lines(words)
