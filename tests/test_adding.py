"""What docs/adding.md says of a method, a network and a data set of one's own."""
import re
import textwrap
import types
from pathlib import Path

import pytest

import datasets
import models
import recipes
import trainer
from engine import report

ROOT = Path(__file__).parents[1]


def told(file):
    """The module that stands there under the name of that file."""
    section = re.search(rf"^## [^\n]*{file}\n(.*?)(?:^## |\Z)", (ROOT / "docs/adding.md").read_text(), re.M | re.S)[1]
    code = textwrap.dedent(max(re.findall(r"(?:^(?:    .*)?\n)+", section, re.M), key=len))
    module = types.ModuleType(file.removesuffix(".py").replace("/", "."))
    module.__package__ = file.partition("/")[0]
    exec(compile(code, file, "exec"), module.__dict__)
    return module


@pytest.fixture
def added(monkeypatch):
    hinge, squares = told("recipes/hinge.py").RECIPE, told("datasets/squares.py").SOURCE
    monkeypatch.setitem(recipes.RECIPES, hinge.name, hinge)
    monkeypatch.setitem(datasets.DATASETS, squares.name, squares)
    monkeypatch.setitem(models.MODELS, "tiny", told("models/tiny.py").build)


@pytest.mark.parametrize("head", ["implicit", "explicit"])
def test_all_three_train_together(head, added, tmp_path, capsys):
    assert trainer.main(["--recipe", "hinge-gan", "--dataset", "Squares", "--model", "tiny", "--steps", "100", "--head",
                         head, "--device", "cpu", "--train_dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert report.share_right(said) > 0.9
    curves = report.curves(Path(report.folder_named(said)))
    assert {"loss/adversarial", "loss/s_loss", "loss/d_loss_real", "accuracy/test"} <= curves.keys()


def test_the_method_plays_on_the_networks_that_are_there(added, tmp_path, capsys):
    assert trainer.main(["--recipe=hinge-gan", "--steps=20", "--device=cpu", f"--train_dir={tmp_path}"]) == 0
    assert "test accuracy" in capsys.readouterr().out
