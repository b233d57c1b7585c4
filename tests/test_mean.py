"""The mean of runs that were trained one by one."""
import json
from statistics import mean, stdev

import pytest

import evaler
from config import UserError
from engine import loop, report


@pytest.fixture
def train(build):
    """Trains a small run; its folder."""
    def train(recipe="improved-gan", steps=4, stop=0, **changes):
        training = loop.start(build(recipe, steps=steps, **changes))
        walk = training.walk()
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
    expected = f"test accuracy {100 * mean(shares):.2f} ± {100 * stdev(shares):.2f} % (mean and standard deviation"
    assert expected in said
    written = json.loads(next(folders[0].parent.glob("seeds-*.json")).read_text())
    assert written["mean"] == pytest.approx(mean(shares))
    assert written["standard_deviation"] == pytest.approx(stdev(shares))
    assert [run["accuracy"] for run in written["runs"]] == pytest.approx(shares)
    assert [(run["seed"], run["label_seed"]) for run in written["runs"]] == [(1, 1), (2, 1), (2, 3)]


@pytest.mark.parametrize(("other", "found"), [
    ({}, "the seed and labelled images of"),
    ({"seed": 2, "steps": 5}, "not of the same configuration as .*--epochs 0.5, there 0.4"),
    ({"seed": 2, "learning_rate_d": 0.01}, "not of the same configuration as .*--learning_rate_d 0.01"),
    ({"seed": 2, "recipe": "catgan"}, "not of the same configuration as .*--recipe catgan, there improved-gan"),
    ({"seed": 2, "dataset": "Digits", "labels": 10}, "not of the same configuration as .*--dataset Digits"),
    ({"seed": 2, "stop": 2}, r"model-2.pt of 4 steps; end it first"),
    ({"seed": 2, "recipe": "dcgan", "labels": 0}, "a run of dcgan has no accuracy"),
], ids=str)
def test_runs_of_which_there_is_no_mean_are_refused(train, other, found):
    folders = train(prefix="first"), train(prefix="second", **other)
    with pytest.raises(UserError, match=found):
        evaluate(*folders)
    assert not list(folders[0].parent.glob("seeds-*"))


def test_what_needs_one_run_is_refused_for_several():
    with pytest.raises(UserError, match="--suggest: of one run"):
        evaler.main(["--checkpoint", "a", "b", "--suggest", "5"])
