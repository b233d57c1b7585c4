import contextlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evaler
import trainer
from config import guarded
from datasets import h5
from engine import evaluate, report, state

ROOT = Path(evaler.__file__).parent
KEYS = {"accuracy", "accuracy_raw_weights", "errors", "test_images", "nll", "ece", "per_class", "confusion", "dataset",
        "recipe", "labels", "label_seed", "seed", "step", "steps", "checkpoint", "labelled_digest", "data_digest",
        "model", "average", "versions", "selection", "supervised_baseline"}
README_NAMES = {"samples.png", "training.gif", "s_loss.png", "d_loss_real.png", "d_loss_fake.png", "d_loss.png",
                "g_loss.png", "accuracy.png"}


def toy(shape=(8, 8, 1), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    arrays = h5.Arrays(rng.integers(0, 256, (42, *shape), dtype=np.uint8), np.arange(42) % classes,
                       rng.integers(0, 256, (23, *shape), dtype=np.uint8), np.arange(23) % classes)
    return arrays, "toy", [f"kind {k}" for k in range(classes)], "made up"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A train_dir with three short runs by prefix: gan and alone on Digits, toy on a data set of its own; and what the
    trainer printed of each."""
    base = tmp_path_factory.mktemp("trained")
    h5.write(base / "datasets" / "toy" / "data.h5", *toy())
    every = ["--eval_every=10", "--save_every=10", "--average=0.99", f"--train_dir={base / 'runs'}"]
    own = ["--dataset=toy", f"--data_dir={base / 'datasets'}", "--labels=6", "--batch_size=6"]
    said = {}
    for name, flags in {"gan": ["--steps=30", "--validation=50", "--learning_rate_d=0.03"],
                        "alone": ["--recipe=supervised", "--steps=20"],
                        "toy": [*own, "--steps=2"]}.items():
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert trainer.main([*flags, *every, f"--prefix={name}"]) == 0
        said[name] = out.getvalue()
    return base / "runs", said


def copy(source, target):
    """Large files are linked: `edit` and `damage` make a new file in place of the link."""
    (os.link if source.endswith(".pt") else shutil.copy2)(source, target)


@pytest.fixture
def pictured(trained, tmp_path, monkeypatch):
    """Copies of the runs, by prefix; the working folder is their parent's."""
    shutil.copytree(trained[0], tmp_path / "runs", copy_function=copy)
    shutil.copytree(trained[0].parent / "datasets", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    yield {path.name.partition("-")[0]: path for path in Path("runs").glob("*-*")}
    shutil.rmtree(tmp_path / "runs")


@pytest.fixture
def runs(pictured, monkeypatch):
    """The same without the pictures, which take seconds."""
    monkeypatch.setattr(evaler, "draw", lambda *args: [])
    return pictured


def evaluated(folder, *flags):
    """What an evaluation writes to eval.json."""
    evaler.main(["--checkpoint", str(folder), *flags])
    return json.loads(((folder if folder.is_dir() else folder.parent) / "eval" / "eval.json").read_text())


def last(folder, curve):
    return report.curves(folder)[curve][1][-1]


def refused(monkeypatch, capsys, *flags):
    """The message of an evaluation that must end with status 2 and write nothing."""
    before = sorted(Path().rglob("*"))
    monkeypatch.setattr(sys, "argv", ["evaler.py", *map(str, flags)])
    with warnings.catch_warnings(record=True, action="always") as warned, pytest.raises(SystemExit) as stop:
        guarded(evaler.main)
    assert not warned  # they would be lines on stderr, too
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert 1 <= len(err.splitlines()) <= 2
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before
    return err


def edit(path, change):
    """Change a checkpoint in place; returns its path."""
    saved = torch.load(path, weights_only=True)
    change(saved)
    path.unlink()
    torch.save(saved, path)
    return path


def test_number_is_that_of_the_trainer(trained, runs, capsys):
    found = evaluated(runs["gan"])
    said = re.search(r"test accuracy .* of step 30\)", trained[1]["gan"])[0]
    assert said in capsys.readouterr().out
    assert found["accuracy"] == last(runs["gan"], "accuracy/test")
    assert found["accuracy_raw_weights"] == last(runs["gan"], "accuracy/test_raw_weights")
    assert found["accuracy"] != found["accuracy_raw_weights"]
    assert found["test_images"] == 360
    assert found["errors"] == round((1 - found["accuracy"]) * 360)
    assert re.search(r"\((\d+) of 360 wrong", said)[1] == str(found["errors"])


def test_script_needs_nothing_but_the_checkpoint(trained, runs):
    run = subprocess.run([sys.executable, ROOT / "evaler.py", "--checkpoint", runs["gan"]], capture_output=True,
                         text=True, check=False)
    assert run.returncode == 0
    assert run.stderr == ""
    assert re.search(r"test accuracy .*\)", trained[1]["gan"])[0] in run.stdout


def test_eval_json(runs):
    found = evaluated(runs["gan"])
    assert found.keys() >= KEYS
    assert (found["dataset"], found["recipe"], found["model"], found["labels"]) == ("Digits", "improved-gan", "mlp", 50)
    assert (found["label_seed"], found["seed"], found["step"], found["steps"]) == (1, 1, 30, 30)
    assert found["checkpoint"] == "model-30.pt"
    assert found["selection"] == "last checkpoint, no selection on test images"
    config = json.loads((runs["gan"] / "config.json").read_text())
    assert found["labelled_digest"] == config["labelled_digest"]
    assert found["data_digest"] == config["data"]["digest"]
    assert found["versions"]["training"] == config["versions"]
    assert np.trace(found["confusion"]) == 360 - found["errors"]
    assert sum(row["errors"] for row in found["per_class"]) == found["errors"]


def test_pictures_in_eval(pictured, capsys):
    evaluated(pictured["gan"])
    expected = README_NAMES | {"feature_matching.png", "confusion.png", "reliability.png", "errors.png", "eval.json"}
    written = sorted((pictured["gan"] / "eval").iterdir())
    assert {path.name for path in written} == expected
    assert sorted(map(Path, capsys.readouterr().out.splitlines()[-len(expected):])) == written
    for path in written:
        if path.suffix != ".json":
            with Image.open(path) as image:
                image.load()
                assert getattr(image, "n_frames", 1) == (4 if path.suffix == ".gif" else 1)  # at steps 0, 10, 20, 30
    assert not Path("figure").exists()


def test_samples_are_those_of_the_last_step_of_training(pictured):
    evaluated(pictured["gan"])
    samples = [pictured["gan"] / path for path in ("eval/samples.png", "samples/00000030.png", "samples/00000020.png")]
    ours, last, before = (np.asarray(Image.open(path)) for path in samples)
    np.testing.assert_array_equal(ours, last)
    assert (ours != before).any()


def test_averaged_and_raw_weights_are_not_mixed_up(runs):
    before = evaluated(runs["gan"])

    def swap(saved):
        saved["averaged"], saved["nets"]["D"] = saved["nets"]["D"], saved["averaged"]

    edit(runs["gan"] / "model-30.pt", swap)
    after = evaluated(runs["gan"])
    assert (after["accuracy"], after["accuracy_raw_weights"]) == (before["accuracy_raw_weights"], before["accuracy"])


def test_an_earlier_checkpoint(runs):
    found = evaluated(runs["gan"] / "model-20.pt")
    steps, values = report.curves(runs["gan"])["accuracy/test"]
    assert found["accuracy"] == values[steps.index(20)]
    assert found["step"] == 20
    assert "last" not in found["selection"]


def test_a_folder_of_runs_means_the_one_that_wrote_last(runs, capsys):
    for name in ("toy", "gan"):
        os.utime(state.find(runs[name]))
        evaler.main(["--checkpoint", "runs"])
        assert str(runs[name] / "eval") in capsys.readouterr().out


def test_last_images_count(runs, monkeypatch):
    """23 test images in batches of 4; the accuracy is over images, not over batches."""
    whole = evaluated(runs["toy"])
    monkeypatch.setattr(evaluate, "PIXELS", 4 * 8 * 8)
    parts = evaluated(runs["toy"])
    assert parts["confusion"] == whole["confusion"]
    assert sum(map(sum, parts["confusion"])) == parts["test_images"] == 23
    assert parts["accuracy"] == 1 - parts["errors"] / 23
    assert [row["images"] for row in parts["per_class"]] == [8, 8, 7]


def test_training_is_not_touched(runs):
    before = {path: path.read_bytes() for path in runs["gan"].iterdir() if path.is_file()}
    evaluated(runs["gan"])
    assert {path: path.read_bytes() for path in runs["gan"].iterdir() if path.is_file()} == before


def test_supervised_run_has_no_generator(pictured):
    found = evaluated(pictured["alone"])
    assert found["accuracy"] == last(pictured["alone"], "accuracy/test")
    assert found["supervised_baseline"] is None
    written = {path.name for path in (pictured["alone"] / "eval").iterdir()}
    assert written >= {"s_loss.png", "accuracy.png", "confusion.png", "eval.json"}
    assert not written & {"samples.png", "training.gif", "g_loss.png", "d_loss_real.png"}


def test_baseline_is_found_beside_the_run(runs, capsys):
    accuracy = last(runs["alone"], "accuracy/test")
    assert evaluated(runs["gan"])["supervised_baseline"] == {
        "accuracy": accuracy, "errors": round((1 - accuracy) * 360), "run": runs["alone"].name,
        "steps": 20}
    assert f"the same classifier on the 50 labels alone {accuracy:.2%}" in capsys.readouterr().out


def test_baseline_with_other_labelled_images_does_not_count(runs):
    config = runs["alone"] / "config.json"
    config.write_text(config.read_text().replace('"labelled_digest": "', '"labelled_digest": "0'))
    assert evaluated(runs["gan"])["supervised_baseline"] is None


def test_model_file_alone_is_enough(pictured):
    Path("elsewhere").mkdir()
    shutil.copy(pictured["gan"] / "model-30.pt", "elsewhere/best.pt")
    assert evaluated(Path("elsewhere/best.pt"))["accuracy"] == last(pictured["gan"], "accuracy/test")
    assert {path.name for path in Path("elsewhere/eval").iterdir()} == {
        "eval.json", "samples.png", "confusion.png", "reliability.png", "errors.png"}


def test_published_names(pictured):
    evaluated(pictured["gan"], "--publish")
    folder = Path("figure/result/digits")
    assert {path.name for path in folder.iterdir()} == README_NAMES
    for name in README_NAMES:
        assert (folder / name).read_bytes() == (pictured["gan"] / "eval" / name).read_bytes()


@pytest.mark.parametrize("flags", [
    [], ["--checkpoint"], ["--checkpoint", "nowhere"], ["--checkpoint", "runs/model-1.pt"],
    ["--checkpoint", "datasets"], ["--checkpoint", ""], ["--chekpoint", "runs"],
], ids=str)
def test_no_such_checkpoint(runs, monkeypatch, capsys, flags):
    assert "checkpoint" in refused(monkeypatch, capsys, *flags)


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:1000], lambda data: data[:-1000], lambda data: data[:len(data) // 2],
    lambda data: np.random.default_rng(0).bytes(5000), lambda data: b"PK\x03\x04" + bytes(3000),
], ids=["empty", "start", "truncated", "half", "random", "zip"])
def test_damaged_file(runs, monkeypatch, capsys, damage):
    path = runs["gan"] / "model-30.pt"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(data))
    assert "model-30.pt" in refused(monkeypatch, capsys, "--checkpoint", runs["gan"])


class Code:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("dump", [lambda path: torch.save({"format": 1, "settings": Code()}, path),
                                  lambda path: path.write_bytes(pickle.dumps(Code()))], ids=["torch", "pickle"])
def test_code_in_a_file_is_not_executed(runs, monkeypatch, capsys, dump):
    (runs["gan"] / "model-30.pt").unlink()
    dump(runs["gan"] / "model-30.pt")
    refused(monkeypatch, capsys, "--checkpoint", runs["gan"])
    assert not Path("executed").exists()


@pytest.mark.parametrize("change", [
    lambda saved: saved.pop("averaged"),
    lambda saved: saved.pop("settings"),
    lambda saved: saved["settings"].pop("recipe"),
    lambda saved: saved["settings"].pop("seed"),
    lambda saved: saved["settings"].update(recipe="unknown"),
    lambda saved: saved["settings"].update(model="conv-small"),
    lambda saved: saved["settings"].update(head="explicit"),
    lambda saved: saved["settings"].update(steps="many"),
    lambda saved: saved.update(settings=None),
    lambda saved: saved["nets"].pop("G"),
    lambda saved: saved["averaged"].popitem(),
    lambda saved: saved["nets"]["D"].update(extra=torch.zeros(1)),
    lambda saved: saved["averaged"].update({next(iter(saved["averaged"])): torch.zeros(2, 2)}),
    lambda saved: saved.update(averaged=None),
    lambda saved: saved["data"].pop("digest"),
    lambda saved: saved.update(format=0),
    lambda saved: next(iter(saved["averaged"].values())).fill_(torch.nan),
    lambda saved: next(iter(saved["nets"]["D"].values())).view(-1)[0].fill_(torch.inf),
    lambda saved: next(iter(saved["nets"]["G"].values())).fill_(torch.nan),
])
def test_checkpoint_that_does_not_fit(runs, monkeypatch, capsys, change):
    edit(runs["gan"] / "model-30.pt", change)
    refused(monkeypatch, capsys, "--checkpoint", runs["gan"])


def test_missing_data_set(runs, monkeypatch, capsys):
    Path("none").mkdir()
    assert "toy" in refused(monkeypatch, capsys, "--checkpoint", runs["toy"], "--data_dir", "none")
    edit(runs["gan"] / "model-30.pt", lambda saved: saved["settings"].update(dataset="MNIST"))
    message = refused(monkeypatch, capsys, "--checkpoint", runs["gan"], "--data_dir", "none")
    assert "download.py --dataset MNIST" in message


@pytest.mark.parametrize(("other", "said"), [
    ({"shape": (10, 8, 1)}, ["10 x 8 x 1", "8 x 8 x 1"]), ({"shape": (8, 8, 3)}, ["8 x 8 x 3", "8 x 8 x 1"]),
    ({"classes": 2}, ["2 classes", "3 classes"]), ({"seed": 1}, ["digest"])])
def test_other_data_set(runs, monkeypatch, capsys, other, said):
    saved = torch.load(runs["toy"] / "model-2.pt", weights_only=True)
    data = h5.write(Path("other/toy/data.h5"), *toy(**other))
    message = refused(monkeypatch, capsys, "--checkpoint", runs["toy"], "--data_dir", "other")
    assert all(text in message for text in said)
    if "seed" in other:
        assert data.digest[:12] in message
        assert saved["data"]["digest"][:12] in message


def test_damaged_data_set(runs, monkeypatch, capsys):
    path = Path("datasets/toy/data.h5")
    path.write_bytes(path.read_bytes()[:-50])
    refused(monkeypatch, capsys, "--checkpoint", runs["toy"], "--data_dir", "datasets")


@pytest.mark.parametrize("name", ["gpu", "cuda:77", "cpu:x:y"])
def test_unknown_device(runs, monkeypatch, capsys, name):
    assert "--device" in refused(monkeypatch, capsys, "--checkpoint", runs["gan"], "--device", name)


def test_a_device_of_another_machine_is_replaced(runs):
    edit(runs["toy"] / "model-2.pt", lambda saved: saved["settings"].update(device="cuda:77"))
    assert evaluated(runs["toy"])["test_images"] == 23


def test_folder_that_cannot_be_written(runs, monkeypatch, capsys):
    (runs["gan"] / "eval").write_text("a file in the way")
    assert "eval.json" in refused(monkeypatch, capsys, "--checkpoint", runs["gan"])


def test_a_run_goes_on_after_its_evaluation(runs):
    assert evaluated(runs["toy"])["step"] == 2
    assert trainer.main(["--checkpoint", str(runs["toy"]), "--steps", "3"]) == 0
    assert evaluated(runs["toy"])["step"] == 3
