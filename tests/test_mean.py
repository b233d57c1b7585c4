"""The mean of runs that were trained one by one."""
import json
from statistics import mean, stdev

import pytest
import torch

import datasets
import evaler
from config import UserError
from datasets import h5
from engine import command, loop, report, start
from tests.conftest import toy_arrays


@pytest.fixture
def train(build):
    """Trains a small run; its folder."""
    def train(recipe="improved-gan", steps=4, stop=0, **changes):
        training = start.in_new_folder(build(recipe, steps=steps, **changes))
        walk = training.steps()
        for _ in range(stop):
            next(walk)
        training.stop = bool(stop)
        for _ in walk:
            pass
        return training.folder

    return train


def evaluate(*folders):
    evaler.main(["--checkpoint", *map(str, folders)])


def test_it_is_of_what_the_trainer_measured(train, capsys):
    folders = [train(steps=1, seed=seed, label_seed=labels, prefix=f"{seed}", eval_every=seed)
               for seed, labels in ((1, 1), (2, 1), (2, 3))]
    shares = [report.curves(folder)["accuracy/test"][1][-1] for folder in folders]
    assert len(set(shares)) > 1
    evaluate(*folders)
    said = capsys.readouterr().out
    expected = f"{100 * mean(shares):.2f} ± {100 * stdev(shares):.2f} % (mean and sample standard deviation"
    assert f"test accuracy {expected}" in said
    written = json.loads(next(folders[0].parent.glob("seeds-*.json")).read_text())
    assert written["configuration"]["--steps"] == 1
    assert written["mean"] == pytest.approx(mean(shares))
    assert written["standard_deviation"] == pytest.approx(stdev(shares))
    assert [run["accuracy"] for run in written["runs"]] == pytest.approx(shares)
    assert [(run["seed"], run["label_seed"]) for run in written["runs"]] == [(1, 1), (2, 1), (2, 3)]


def test_runs_of_which_one_knows_another_class_are_not_of_one_configuration(train):
    folders = [train(seed=seed, prefix=f"{seed}") for seed in (1, 2)]
    path = folders[1] / "model-4.pt"
    saved = torch.load(path, weights_only=True)
    saved["data"]["class_names"] = [*saved["data"]["class_names"][:-1], "another"]
    torch.save(saved, path)
    with pytest.raises(UserError, match=r"not of the same configuration as .*: classes"):
        evaluate(*folders)


@pytest.mark.parametrize(("other", "found"), [
    ({}, "the seed and labelled images of"),
    ({"seed": 2, "steps": 5}, "not of the same configuration as .*--epochs 0.5, there 0.4"),
    ({"seed": 2, "learning_rate_d": 0.01}, "not of the same configuration as .*--learning_rate_d 0.01"),
    ({"seed": 2, "recipe": "catgan"}, "not of the same configuration as .*--recipe catgan, there improved-gan"),
    ({"seed": 2, "dataset": "Digits", "labels": 10}, "not of the same configuration as .*--dataset Digits"),
    ({"seed": 2, "precision": "bfloat16"}, "not of the same configuration as .*--precision bfloat16, there float32"),
    ({"seed": 2, "labelled": "all"}, "not of the same configuration as .*--labels 80, there 8"),
    ({"seed": 2, "stop": 2}, "step 2 of 4; name the run's folder, or end the run with\npython trainer.py --checkpoint"),
    ({"seed": 2, "recipe": "dcgan", "labels": 0}, "a run of dcgan has no accuracy"),
], ids=str)
def test_runs_of_which_there_is_no_mean_are_refused(train, other, found):
    folders = (train(prefix="first", precision="float32"),
               train(prefix="second", **{"precision": "float32", **other}))
    with pytest.raises(UserError, match=found):
        evaluate(*folders)
    with pytest.raises(UserError):
        evaluate(*reversed(folders))
    assert not list(folders[0].parent.glob("seeds-*"))


def test_the_same_settings_with_other_images_are_refused(train, tmp_path):
    other = datasets.path("Grey8", tmp_path / "other")
    h5.write(other, toy_arrays((8, 8, 1), seed=1), "Grey8", tuple("abcd"), "other images")
    folders = train(prefix="first"), train(prefix="second", seed=2, data_dir=tmp_path / "other")
    with pytest.raises(UserError, match="images, digest"):
        evaluate(*folders)


def test_runs_with_other_density_models_are_refused(train):
    densities = [train("pixelcnn", labels=0, seed=seed, steps=1, prefix=f"density{seed}") for seed in (1, 2)]
    without, first, second = (train("bad-gan", seed=seed, density=density, prefix=f"{seed}", steps=1)
                              for seed, density in enumerate(["", *map(str, densities)]))
    for folders in ((without, first), (first, without), (first, second)):
        with pytest.raises(UserError, match="--density, digest"):
            evaluate(*folders)


def test_named_rows_and_chosen_ones_are_no_samples_of_one_thing(train, tmp_path):
    first = train(prefix="first")
    folders = [train(prefix=f"{seed}", seed=seed, labelled=str(first / "labelled.txt")) for seed in (2, 3)]
    with pytest.raises(UserError, match="--labelled given, there not given"):
        evaluate(first, *folders)
    evaluate(*folders)


def test_a_run_that_was_gone_on_with_counts_by_its_newest_checkpoint(train, capsys):
    """Its best one on validation images is of before, when the run was to be shorter."""
    how = {"select": "validation", "validation": 20, "eval_every": 1}
    longer = [train(prefix=f"{seed}", seed=seed, steps=2, **how) for seed in (1, 2)]
    for folder in longer:
        run, path = command.asked(["--checkpoint", str(folder), "--steps", "4"])
        assert loop.train([start.prepare(run, path)]) == [None]
    evaluate(*longer)
    evaluate(*longer[0].parent.glob("*"))  # what was written is no run
    with pytest.raises(UserError, match=r"steps before the same, there \[2\]"):
        evaluate(*longer, train(prefix="straight", seed=3, **how))
    assert "best on validation" in capsys.readouterr().out


def test_a_run_named_twice_is_refused(train):
    first, second = train(prefix="a"), train(prefix="b", seed=2)
    with pytest.raises(UserError, match="name each run once"):
        evaluate(first, second, first.parent)


def test_a_mean_needs_two_runs(train):
    first = train()
    with pytest.raises(UserError, match="two runs or more"):
        evaluate(first, first.parent / "seeds-20261126-182444.json")


def test_what_needs_one_run_is_refused_for_several():
    with pytest.raises(UserError, match="--suggest: is for one run; name only one"):
        evaler.main(["--checkpoint", "a", "b", "--suggest", "5"])
