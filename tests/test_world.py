"""Noise as a function of position, and what --device and --precision name."""
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from config import UserError
from engine import world


def test_every_position_has_noise_of_its_own():
    positions = [(1, 0), (1, 1), (2, 0), (1, 0, 1), (1, 0, 2**32), (1, 0, 2**32 + 1), (0, 0),
                 *((1, who) for who in (world.WEIGHTS, world.DATA_INIT, world.SAMPLES))]
    drawn = []
    for position in positions:
        world.seed_noise(*position)
        drawn.append(torch.rand(4).tolist())
    assert all(a != b for a, b in itertools.combinations(drawn, 2))
    world.seed_noise(*positions[0])
    assert torch.rand(4).tolist() == drawn[0]


def test_the_commit_is_that_of_the_toolkit_not_of_a_repository_around_it(tmp_path):
    root = Path(world.__file__).parent.parent
    for name in ("config.py", "engine/world.py"):
        (tmp_path / "vendor" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, tmp_path / "vendor" / name)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "theirs"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    told = subprocess.run([sys.executable, "-c", "from engine import world; print(world.commit())"], text=True,
                          cwd=tmp_path / "vendor", capture_output=True, check=True)
    assert told.stdout == "unknown\n"


@pytest.mark.parametrize("name", ["cuda:99", "cuda:", "cuda:00", "cpu:3", "tpu", "", "CPU"])
def test_a_device_that_is_not_there(name):
    with pytest.raises(UserError, match=f"--device {name}:"):
        world.device(name)


def test_precision_asked_for_is_kept():
    cpu = torch.device("cpu")
    assert [world.precision(name, cpu) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    assert world.precision("auto", cpu) in ("float32", "bfloat16")


def test_small_networks_take_few_threads(build, monkeypatch):
    before = torch.get_num_threads()
    try:
        monkeypatch.setattr(world, "MOST_THREADS", 8)
        assert [world.use_threads(0, flop) for flop in (5e8, 3.7e9, 600e9)] == [1, 4, 8]
        assert world.use_threads(3, 5e8) == torch.get_num_threads() == 3
        assert build("improved-gan").cfg.threads == torch.get_num_threads() == 1
        assert build("improved-gan", threads=2).cfg.threads == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
