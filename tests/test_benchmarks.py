"""The benchmarks run and tell what they promise; how fast anything is, no test says."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

STEP = Path(__file__).parent.parent / "benchmarks" / "step.py"


def step(*argv, cwd):
    return subprocess.run([sys.executable, STEP, *argv], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("recipe", ["improved-gan", "ssgan"])
def test_step_is_compared_with_a_plain_one(recipe, tmp_path):
    done = step("--dataset", "digits", "--recipe", recipe, "--seconds", "0.2", "--output", "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["ratio"] > 0
    assert 0 < found["tflops"] < found["peak_tflops"]
    assert {"plain_its", "fast_its", "device", "versions", "commit", "date"} <= found.keys()


def test_bad_names_end_in_two_lines(tmp_path):
    done = step("--dataset", "digitz", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean Digits" in done.stderr
    assert len(done.stderr.splitlines()) <= 2
