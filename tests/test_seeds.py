"""What several seeds in one call print."""
import io
import sys

import torch

from engine import seeds


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
    found = seeds.outcomes([["--seed", "1"], ["--seed", "2"]], torch.device("cpu"))
    assert found == [(130, "")] * 2
    assert sorted(filter(None, sys.stdout.pieces)) == ["--seed 1: not finished\n", "--seed 2: not finished\n"]
