"""What evaler.py says and draws."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import evaler
import trainer
from datasets import h5
from engine import evaluate, report, state
from ops import Verdict
from tests.runs import ROOT, edit, evaluated

KEYS = {"accuracy", "accuracy_raw_weights", "errors", "test_images", "nll", "ece", "per_class", "confusion", "dataset",
        "recipe", "labels", "label_seed", "seed", "step", "steps", "checkpoint", "labelled_digest", "data_digest",
        "model", "average", "versions", "selection", "supervised_baseline", "command"}
README_NAMES = {"samples.png", "training.gif", "s_loss.png", "d_loss_real.png", "d_loss_fake.png", "d_loss.png",
                "g_loss.png", "accuracy.png"}


def last(folder, curve):
    return report.curves(folder)[curve][1][-1]


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
    assert found["versions"]["resumed"] == []
    assert np.trace(found["confusion"]) == 360 - found["errors"]
    assert sum(row["errors"] for row in found["per_class"]) == found["errors"]


def test_pictures_in_eval(pictured, capsys):
    evaluated(pictured["gan"])
    expected = README_NAMES | {"feature_matching.png", "consistency.png", "balance.png", "confusion.png",
                               "reliability.png", "errors.png", "eval.json", "card.md"}
    written = sorted((pictured["gan"] / "eval").iterdir())
    assert {path.name for path in written} == expected
    assert sorted(map(Path, capsys.readouterr().out.splitlines()[-len(expected):])) == written
    for path in written:
        if path.suffix not in (".json", ".md"):
            with Image.open(path) as image:
                image.load()
                assert getattr(image, "n_frames", 1) == (4 if path.suffix == ".gif" else 1)  # at steps 0, 10, 20, 30
    assert not Path("figure").exists()


def test_without_an_error_there_is_no_sheet_of_errors(pictured, monkeypatch):
    right = torch.from_numpy(h5.read(Path("datasets/toy/data.h5")).arrays.test_label)
    verdict = Verdict(9.0 * torch.nn.functional.one_hot(right), right, right)
    monkeypatch.setattr(evaluate, "predict", lambda *args: verdict)
    assert evaluated(pictured["toy"])["errors"] == 0
    written = {path.name for path in (pictured["toy"] / "eval").iterdir()}
    assert "confusion.png" in written
    assert "errors.png" not in written


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
        "eval.json", "card.md", "samples.png", "confusion.png", "reliability.png", "errors.png"}


def test_published_names(pictured):
    evaluated(pictured["gan"], "--publish")
    folder = Path("figure/result/digits")
    published = {path.name: path.read_bytes() for path in folder.iterdir()}
    drawn = (path for path in (pictured["gan"] / "eval").iterdir() if path.suffix in (".png", ".gif"))
    assert published == {path.name: path.read_bytes() for path in drawn}
    assert published.keys() >= README_NAMES


def test_a_device_of_another_machine_is_replaced(runs):
    edit(runs["toy"] / "model-2.pt", lambda saved: saved["settings"].update(device="cuda:77"))
    assert evaluated(runs["toy"])["test_images"] == 23


def test_a_run_goes_on_after_its_evaluation(runs):
    assert evaluated(runs["toy"])["step"] == 2
    assert trainer.main(["--checkpoint", str(runs["toy"]), "--steps", "3"]) == 0
    assert evaluated(runs["toy"])["step"] == 3


def test_a_run_without_labels_has_pictures_and_no_accuracy(trained, pictured, capsys):
    assert "trained to step 20" in trained[1]["free"]
    assert "accuracy" not in trained[1]["free"]
    found = evaluated(pictured["free"])
    printed = capsys.readouterr().out
    assert "dcgan on Digits, step 20: no classifier, so no accuracy" in printed
    assert "%" not in printed
    assert "nan" not in printed
    assert (found["labels"], found["step"], found["dataset"]) == (0, 20, "Digits")
    assert not found.keys() & {"accuracy", "errors", "nll", "ece", "per_class", "confusion", "supervised_baseline"}
    assert not any(name.startswith("accuracy") for name in report.curves(pictured["free"]))
    assert {path.name for path in (pictured["free"] / "eval").iterdir()} == {
        "eval.json", "samples.png", "training.gif", "d_loss.png", "d_loss_real.png", "d_loss_fake.png", "g_loss.png",
        "adversarial.png", "card.md"}


def test_a_run_on_data_without_labels(pictured, capsys):
    data = h5.read(Path("datasets/toy/data.h5")).without_labels()
    h5.write(Path("datasets/bare/data.h5"), data.arrays, "bare", (), "made up")
    where = ["--data_dir=datasets", "--train_dir=bare"]
    assert trainer.main(["--recipe=dcgan", "--dataset=bare", "--batch_size=8", "--steps=2", *where]) == 0
    run, = Path("bare").iterdir()
    assert evaluated(run)["dataset"] == "bare"
    assert trainer.main(["--checkpoint", str(run), "--steps", "3"]) == 0
    assert "trained to step 3" in capsys.readouterr().out
