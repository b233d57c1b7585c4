"""The order of the rooms: imports point down, and the record of settings imports nothing of ours."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"engine", "recipes", "datasets", "models", "losses", "ops", "config"}
SCRIPTS = ("download", "trainer", "evaler")
ALLOWED = {**dict.fromkeys(SCRIPTS, ROOMS), "engine": ROOMS, "recipes": {"recipes", "losses", "ops", "config"},
           "datasets": {"datasets", "ops", "config"}, "models": {"models", "ops", "config"}, "losses": set(),
           "ops": set(), "config": set()}
FILES = [path for room in ALLOWED for path in ([ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists()
                                               else sorted((ROOT / room).glob("*.py")))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else (
            [node.module] if isinstance(node, ast.ImportFrom) and not node.level else [])
        yield from (name.split(".")[0] for name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    ours = {*ROOMS, *SCRIPTS, "tests"} & set(imported(path))
    assert ours <= ALLOWED[room]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_thin(script):
    assert len((ROOT / f"{script}.py").read_text().splitlines()) < 120


def test_a_run_imports_nothing_that_takes_as_long_as_torch(tmp_path):
    code = ("import sys, trainer, evaler; trainer.main(['--steps', '2', '--train_dir', sys.argv[1]]);"
            "evaler.main(['--checkpoint', sys.argv[1]]);"
            "print(sorted({'torch._dynamo', 'torchvision', 'torchmetrics', 'sympy'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_every_room_is_looked_at():
    assert {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in FILES} == ROOMS | set(SCRIPTS)
