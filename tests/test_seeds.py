"""What several seeds in one call print."""
import contextlib
import io
import sys

import pytest
import torch

from config import UserError
from engine import loop, seeds, world
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


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")])])
def test_runs_that_share_a_process_are_the_runs_alone(device, build, capsys):
    """Also where one of them fails on its way."""
    where, begun = torch.device(device), {}
    changes = {"device": device, "steps": 14, "eval_every": 5, "save_every": 4, "log_every": 2}

    def begin(line):
        begun[line] = build(seed=int(line), prefix=line, **changes)
        if line == "2":
            begun[line].state.nets["D"].hidden[0].bias.data.fill_(torch.inf)
        return loop.start(begun[line])

    lanes = [world.Lane(where) if device == "cuda" else contextlib.nullcontext() for _ in range(4)]
    results = seeds.in_turns(["1", "2", "3", "4"], begin, lanes)
    assert [status for status, _ in results] == [0, 2, 0, 0]
    said = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in said if line[1:2] == ":"] == ["1: ", "2: ", "3: ", "4: "]
    for line in ("1", "3", "4"):
        alone = build(seed=int(line), **changes)
        assert loop.go([loop.start(alone)]) == [None]
        assert_bitwise(weights(begun[line]), weights(alone))


def test_bad_input_of_a_later_run_leaves_no_folder_of_the_first(build, tmp_path):
    def begin(line):
        if line == "2":
            raise UserError("--seed 2: no")
        return loop.start(build(seed=1))

    with pytest.raises(UserError, match="--seed 2: no"):
        seeds.in_turns(["1", "2"], begin, [contextlib.nullcontext()] * 2)
    assert not list((tmp_path / "train_dir").glob("*"))
