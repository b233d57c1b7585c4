"""Command lines to runs, and back."""
import dataclasses
import shlex

import pytest

import datasets
import recipes
from config import as_dict
from datasets import h5
from engine import command
from engine import run as engine_run
from tests.conftest import toy_arrays

MORE = {"supervised": "--optimiser sgd --flip --select validation", "pixelcnn": "--filters 4 --flip",
        "improved-gan": "--weight G/feature_matching=2 --no_data_init --head explicit --average 0",
        "ssgan": "--update_rate 3 --steps 9", "cats-dogs": "--select last --validation 8",
        "bad-gan": "--labelled all --epochs 3.5 --prefix other"}


@pytest.mark.parametrize("recipe", recipes.RECIPES)
@pytest.mark.parametrize("dataset", ["Grey8", "Colour16"])
def test_the_command_of_a_run_trains_the_same_run(recipe, dataset, data_dir):
    def resolved(words):
        return engine_run.build(command.settings([*words, "--dry_run"])).cfg

    few = [] if recipe == "bad-gan" else ["--labels", "20"] if recipes.RECIPES[recipe].classifies else []
    given = ["--dataset", dataset, "--data_dir", str(data_dir), "--recipe", recipe, *few]
    cfg = resolved([*given, *shlex.split(MORE.get(recipe, "--seed 3"))])
    words = shlex.split(command.line(cfg, datasets.spec(dataset, data_dir)))
    assert words[:2] == ["python", "trainer.py"]
    again = resolved(words[2:])
    assert as_dict(dataclasses.replace(again, prefix=cfg.prefix)) == as_dict(cfg)


@pytest.mark.parametrize("flags", [[], ["--labels", "40"], ["--batch_size", "100"],
                                   ["--labelled", "rows", "--label_seed", "7", "--validation", "10"]])
def test_the_command_of_a_run_on_an_own_set_chooses_the_same_rows(flags, tmp_path, monkeypatch):
    """By default it takes the labels that are there, and batches that a small set can fill."""
    monkeypatch.chdir(tmp_path)
    arrays = toy_arrays((8, 8, 1), train=120)
    arrays.train_label[100:] = -1
    h5.write(datasets.path("mine", "datasets"), arrays, "mine", tuple("abcd"), "made by the tests")
    (tmp_path / "rows").write_text("1\n2\n3\n4\n")

    def built(words):
        run = engine_run.build(command.settings([*words, "--dry_run"]))
        return run.cfg.batch_size, *(rows.tolist() for rows in run.pipeline.split), run.cfg

    *first, cfg = built(["--dataset", "mine", *flags])
    *second, _ = built(shlex.split(command.line(cfg, datasets.spec("mine", "datasets")))[2:])
    assert first == second


def test_the_command_of_a_default_run_is_short():
    cfg = engine_run.build(command.settings(["--dry_run"])).cfg
    line = command.line(cfg, datasets.spec("Digits", "datasets"))
    assert line == (f"python trainer.py --dataset Digits --recipe improved-gan --steps {cfg.steps} --precision "
                    f"{cfg.precision} --threads {cfg.threads}")
