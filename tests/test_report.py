import dataclasses
import inspect
import json
import os

import pytest

import recipes
from config import UserError
from engine import report
from models import MODELS

BASELINE = {"accuracy": 307 / 360, "errors": 53, "run": "alone", "steps": 20}
FACTS = {"settings": {"recipe": "improved-gan", "dataset": "Digits", "model": "mlp", "seed": 1, "steps": 20},
         "labelled_digest": "aa", "data": {"digest": "dd"}}


def neighbour(parent, name, lines=((10, 0.5), (20, 0.75)), recipe="supervised", age=0, **changes):
    facts = {**FACTS, "settings": {**FACTS["settings"], "recipe": recipe, **changes.pop("settings", {})}, **changes}
    (parent / name).mkdir()
    (parent / name / "config.json").write_text(json.dumps(facts))
    metrics = parent / name / "metrics.jsonl"
    metrics.write_text("".join(json.dumps({"step": step, "accuracy/test": value}) + "\n" for step, value in lines))
    os.utime(metrics, (1e9 - age, 1e9 - age))


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_baseline_is_the_last_accuracy_of_the_supervised_run(run):
    neighbour(run.parent, "alone")
    assert report.baseline(run, FACTS) == {"accuracy": 0.75, "run": "alone", "steps": 20}


@pytest.mark.parametrize("changes", [
    {"labelled_digest": "bb"}, {"data": {"digest": "ee"}}, {"data": {"digest": "dd", "class_names": ["a"]}},
    {"settings": {"seed": 2}}, {"settings": {"dataset": "MNIST"}}, {"settings": {"model": "conv-small"}},
    {"recipe": "ssgan"}, {"lines": [(10, 0.5)]},
    {"lines": []}, {"lines": [(20, None)]}, {"lines": [(20, float("nan"))]}, {"lines": [(20, "0.5")]},
], ids=str)
def test_other_or_unfinished_runs_are_no_baseline(run, changes):
    neighbour(run.parent, "alone", **changes)
    assert report.baseline(run, FACTS) is None


@pytest.mark.parametrize(("model", "name", "usual", "other"), [
    ("conv-small", "pool", "average", "max"), ("conv-small", "scales", "standardised", "trained"),
    ("conv-large", "normalise", False, True), ("ssgan", "norm_type", "batch", "none")])
def test_a_baseline_has_the_same_network(run, model, name, usual, other):
    neighbour(run.parent, "alone", settings={"model": model, name: usual})
    settings = {**FACTS["settings"], "model": model}
    assert report.baseline(run, {**FACTS, "settings": settings})["run"] == "alone"
    assert report.baseline(run, {**FACTS, "settings": {**settings, name: other}}) is None


def test_settings_of_another_network_keep_no_baseline_away(run):
    neighbour(run.parent, "alone", settings={"pool": "average"})
    assert report.baseline(run, {**FACTS, "settings": {**FACTS["settings"], "pool": "max"}})["run"] == "alone"


def test_a_baseline_can_have_every_setting_of_a_network():
    theirs = {field.name for field in dataclasses.fields(recipes.find("supervised").settings)} - {"batch_size"}
    for model, build in MODELS.items():
        assert report.NETWORK.get(model, {}).keys() == inspect.signature(build).parameters.keys() & theirs


def test_the_newest_baseline_counts(run):
    neighbour(run.parent, "b", age=5, lines=[(20, 0.9)])
    neighbour(run.parent, "a", age=1, lines=[(20, 0.8)])
    neighbour(run.parent, "c", age=9, lines=[(20, 0.7)])
    assert report.baseline(run, FACTS)["run"] == "a"


def test_a_longer_baseline_counts_before_a_newer_one(run):
    neighbour(run.parent, "trial", age=1, lines=[(2, 0.3)], settings={"steps": 2})
    neighbour(run.parent, "whole", age=5)
    assert report.baseline(run, FACTS)["run"] == "whole"


def test_a_baseline_that_was_trained_likewise_counts_before_a_longer_one(run):
    facts = {**FACTS, "settings": {**FACTS["settings"], "batch_size": 50, "learning_rate_d": 0.003}}
    like = {"batch_size": 50, "learning_rate_d": 0.003}
    neighbour(run.parent, "tried", age=1, lines=[(99, 0.3)], settings={**like, "batch_size": 2, "steps": 99})
    neighbour(run.parent, "slow", age=1, settings={**like, "learning_rate_d": 0.1})
    neighbour(run.parent, "alike", age=5, settings=like)
    assert report.baseline(run, facts)["run"] == "alike"


def test_a_supervised_run_has_no_baseline(run):
    neighbour(run.parent, "alone")
    assert report.baseline(run, {**FACTS, "settings": {**FACTS["settings"], "recipe": "supervised"}}) is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'"x"', b"{}", b'{"settings": 1}', b"\xff\xfe", b"null",
                                  b"[" * 100_000])
def test_neighbours_that_cannot_be_read_are_passed_over(run, text):
    neighbour(run.parent, "alone")
    (run.parent / "odd").mkdir()
    (run.parent / "odd" / "config.json").write_bytes(text)
    neighbour(run.parent, "odd metrics", age=-5)
    (run.parent / "odd metrics" / "metrics.jsonl").write_bytes(text)
    assert report.baseline(run, FACTS)["run"] == "alone"


def test_a_neighbour_whose_curves_do_not_fit_together_is_passed_over(run):
    neighbour(run.parent, "alone")
    neighbour(run.parent, "odd", age=-5, settings={"select": "validation"})
    lines = [{"step": step, "accuracy/validation": step / 10} for step in (1, 2)] + [{"step": 20, "accuracy/test": 0.5}]
    (run.parent / "odd" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert report.baseline(run, FACTS)["run"] == "alone"


def test_curves_of_a_run(run):
    assert report.curves(run) == {}
    (run / "metrics.jsonl").write_text('{"step": 1, "a/a": 5.0}\n{"step": 2, "b/b": 6.0, "a/a": 7.0}\n{"step": 3, "a')
    assert report.curves(run) == {"a/a": ([1, 2], [5.0, 7.0]), "b/b": ([2], [6.0])}


@pytest.mark.parametrize("line", [
    '{"step": 2, "a/a": 1' + 5000 * "0" + "}", '{"step": 2, "a/a": 1' + 400 * "0" + "}", '{"step": 2, "a/a": NaN}',
    '{"step": 2, "loss/a/b": 1}', '{"step": 2, "loss/../../x": 1}', '{"step": 2, "a\\u0000/a": 1}', '{"step": true}',
    '{"step": 2.0, "a/a": 1}', '{"a/a": 1}', '{"step": 2, "a/a": "1"}', "[2]", "[" * 100_000])
def test_lines_that_a_hand_spoilt_are_left_out(run, line):
    (run / "metrics.jsonl").write_text('{"step": 1, "a/a": 5.0}\n' + line + '\n{"step": 3, "a/a": 6}\n')
    assert report.curves(run) == {"a/a": ([1, 3], [5.0, 6])}


def result(classes):
    confusion = [[0] * classes for _ in range(classes)]
    for k in range(classes):
        confusion[k][k], confusion[k][(k + 1) % classes] = 100 - k, k
    return {"recipe": "improved-gan", "dataset": "Toy", "labels": 50, "test_images": 360, "errors": 42, "step": 7,
            "average": 0.9, "selection": "last checkpoint, no selection on test images", "accuracy": 1 - 42 / 360,
            "errors_raw_weights": 36, "nll": 0.25, "ece": 0.0625, "confusion": confusion, "supervised_baseline": None,
            "per_class": [{"class": f"<{k}>", "images": 100, "errors": k, "accuracy": 1 - k / 100}
                          for k in range(classes)]}


def test_summary_says_what_was_found():
    text = report.summary(result(3) | {"supervised_baseline": BASELINE})
    assert "test accuracy 88.33% (42 of 360 wrong; averaged weights of step 7)" in text
    assert "raw weights 90.00% (36 of 360 wrong)" in text
    assert "selection" not in text
    best = report.summary(result(3) | {"selection": "best on validation, step 7 (80.00% of 20 images right)"})
    assert "best on validation, step 7 (80.00% of 20 images right)" in best.splitlines()
    assert "the same classifier on the 50 labels alone 85.28% (53 of 360 wrong; 20 steps; alone)" in text
    assert "0.2500 nats, calibration error 6.25%" in text
    assert text.splitlines()[-1].split() == ["<2>", "100", "2", "98.00%", "<0>", "(2)"]


def test_summary_of_a_run_without_an_average():
    text = report.summary(result(3) | {"average": 0.0})
    assert "(42 of 360 wrong; weights of step 7)" in text
    assert "raw weights" not in text


def test_summary_shows_the_worst_of_many_classes():
    lines = report.summary(result(90)).splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("<")]
    assert shown == [f"<{k}>" for k in range(89, 69, -1)]
    assert "20 of 90" in lines[-1]


def test_summary_of_a_class_without_images():
    odd = result(3)
    odd["per_class"][0] |= {"images": 0, "errors": 0, "accuracy": None}
    assert "-" in report.summary(odd).splitlines()[-3].split()


def test_result_is_written_whole(tmp_path):
    path = tmp_path / "eval" / "eval.json"
    report.write(path, {"accuracy": 0.5})
    report.write(path, {"accuracy": 0.75})
    assert json.loads(path.read_text()) == {"accuracy": 0.75}
    assert [file.name for file in path.parent.iterdir()] == ["eval.json"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "eval").write_text("a file")
    with pytest.raises(UserError, match=r"eval\.json: cannot be written"):
        report.write(tmp_path / "eval" / "eval.json", {})
