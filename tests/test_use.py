"""A trained classifier in use: predictions, suggestions, export, the page of a run."""
import csv
import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

import datasets
import download
import evaler
from config import UserError
from datasets import h5, splits
from engine import calibration, evaluate, restore, state
from engine import predict as prediction
from ops import Verdict
from tests.runs import edit, evaluated

ROOT = Path(__file__).resolve().parents[1]


def restored(run):
    path = state.find(run)
    saved = state.load(path)
    return restore.run(saved, path), saved


def photographs(folder, run, count=6):
    """The first test images as files, and a text among them."""
    folder.mkdir()
    images = run.data.arrays.test_image[:count]
    for i, image in enumerate(images):
        Image.fromarray(image.squeeze(-1)).save(folder / f"{i}.png")
    (folder / "notes.txt").write_text("no picture")
    return images


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_are_those_of_the_network(runs, tmp_path, capsys):
    run, saved = restored(runs["gan"])
    images = photographs(tmp_path / "new", run)
    evaler.main(["--checkpoint", str(runs["gan"]), "--predict", str(tmp_path / "new"), "--output", "p.csv"])
    assert "p.csv: 6 pictures, 1 other files" in capsys.readouterr().out
    lines = table(tmp_path / "p.csv")
    assert [line["file"].rsplit("/")[-1] for line in lines] == [f"{i}.png" for i in range(6)] + ["notes.txt"]
    assert "no JPEG" in lines[6]["problem"]
    assert lines[6]["class"] == ""
    verdict = evaluate.predict(run.averaged, images, run.device)
    read_by = calibration.of(run, saved)
    for line, classes, real in zip(lines, verdict.classes, verdict.real.sigmoid(), strict=False):
        assert line["class"] == run.data.class_names[classes.argmax()]
        assert float(line["probability"]) == pytest.approx(classes.softmax(0).max().item(), abs=1e-4)
        assert float(line["confidence"]) == pytest.approx((classes / read_by.temperature).softmax(0).max().item(),
                                                          abs=1e-4)
        assert float(line["real"]) == pytest.approx(real.item(), abs=1e-4)
        assert line["unlike"] == ("yes" if real < read_by.least_real else "no")


def test_the_table_of_the_last_time_is_no_picture(runs, tmp_path, capsys):
    photographs(tmp_path / "new", restored(runs["gan"])[0], count=2)
    for _ in range(2):
        evaler.main(["--checkpoint", str(runs["gan"]), "--predict", "new", "--output", "new/predictions.csv"])
        assert "2 pictures, 1 other files" in capsys.readouterr().out


def test_a_table_of_the_last_time_alone_is_told(runs, tmp_path):
    (tmp_path / "new").mkdir()
    Path("new/predictions.csv").touch()
    with pytest.raises(UserError, match=r"--predict: no picture beside new/predictions\.csv"):
        evaler.main(["--checkpoint", str(runs["gan"]), "--predict", "new", "--output", "new/predictions.csv"])


def test_linked_and_closed_folders_are_not_left_out_in_silence(runs, tmp_path, closed):
    photographs(tmp_path / "new", restored(runs["gan"])[0], count=1)
    (tmp_path / "other" / "deep").mkdir(parents=True)
    Path("other/link").symlink_to(tmp_path / "new")
    with pytest.raises(UserError, match="--predict other/link: a link to a folder, which is not followed"):
        evaler.main(["--checkpoint", str(runs["gan"]), "--predict", "other"])
    Path("other/link").unlink()
    closed("deep")
    with pytest.raises(UserError, match="--predict other/deep: Permission denied"):
        evaler.main(["--checkpoint", str(runs["gan"]), "--predict", "other"])


def test_names_come_from_standard_input_and_patterns_too(runs, tmp_path, monkeypatch):
    run, _ = restored(runs["toy"])
    photographs(tmp_path / "new", run, count=3)
    monkeypatch.setattr(sys, "stdin", io.StringIO("new/2.png\r\nnew/0.png\n\n"))
    evaler.main(["--checkpoint", str(runs["toy"]), "--predict", "-", "new/[01].png"])
    assert [line["file"] for line in table(tmp_path / "predictions.csv")] == ["new/2.png", "new/0.png", "new/1.png"]


def test_a_classifier_that_saw_no_generated_image_does_not_judge_real(runs, tmp_path):
    run, _ = restored(runs["alone"])
    photographs(tmp_path / "new", run, count=2)
    evaler.main(["--checkpoint", str(runs["alone"]), "--predict", "new"])
    assert [(line["real"], line["unlike"]) for line in table(tmp_path / "predictions.csv")] == [("", "")] * 3


@pytest.mark.parametrize(("words", "said"), [
    (["--predict", "none"], "--predict none: no such file"), (["--predict"], "--predict: name pictures"),
    (["--predict", "new/notes.txt"], r"no picture among the files named \(1\)"),
    (["--predict", "-"], "--predict -: no names on standard input"),
    (["--predict", "new", "--output", "new"], "--output new: a folder"),
    (["--predict", "new", "--output", "new/0.png"], "--output new/0.png: one of the pictures"),
    (["--predict", "new", "--output", "new/pipe"], r"--output new/pipe: cannot be written \(is a device or a pipe"),
    (["--predict", "new", "--output", "no/p.csv"], "--output no/p.csv: cannot be written"),
    (["--predict", "new", "--suggest", "3"], "--predict: not used with --suggest"),
    (["--output", "p.csv"], "only used with --predict"),
    (["--suggest", "5000"], r"--suggest 5000: only \d+ training images are left to suggest"),
    (["--export", "c.pth"], r"--export c\.pth: end its name"),
    (["--predict", "new", "--publish"], "--publish: not used with --predict")])
def test_what_cannot_be_done_says_why_and_leaves_nothing(words, said, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    run, _ = restored(runs["gan"])
    photographs(tmp_path / "new", run, count=1)
    os.mkfifo("new/pipe")
    with pytest.raises(UserError, match=said):
        evaler.main(["--checkpoint", str(runs["gan"]), *words])
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "datasets", "new"}
    assert not list(tmp_path.glob("runs/*/eval/suggest*"))


@pytest.mark.parametrize(("shape", "said"), [((1, 2, 1), "has points"), ((8, 8, 4), "of 8 x 8 x 4")])
def test_what_is_no_picture_is_not_predicted(shape, said, runs):
    run, saved = restored(runs["gan"])
    data = run.data._replace(spec=run.data.spec._replace(shape=shape))
    with pytest.raises(UserError, match=said):
        prediction.look(run._replace(data=data), saved)


@pytest.mark.parametrize("name", ["gan", "toy"])
def test_of_a_set_with_all_labels_rows_are_suggested_beside_those_of_the_run(name, runs):
    evaler.main(["--checkpoint", str(runs[name]), "--suggest", "7"])
    labelled = restored(runs[name])[1]["labelled"].tolist()
    asked = [int(row) for row in (runs[name] / "eval" / "suggest.txt").read_text().split()]
    assert asked[:len(labelled)] == labelled
    assert len(set(asked)) == len(asked) == len(labelled) + 7
    assert (runs[name] / "eval" / "suggest.png").exists()


@pytest.mark.parametrize(("name", "recipe"), [("gan", "improved-gan"), ("alone", "supervised")])
def test_what_to_do_with_suggested_rows_has_the_settings_of_the_run(name, recipe, runs, capsys):
    evaler.main(["--checkpoint", str(runs[name]), "--suggest", "7"])
    said = capsys.readouterr().out
    line, = re.findall(r"^python trainer\.py .+", said, re.MULTILINE)
    words = f"--dataset Digits --recipe {recipe} --labelled {runs[name]}/eval/suggest.txt"
    assert line.startswith(f"python trainer.py {words}")
    assert " --average 0.99 " in line


def test_rows_that_were_labelled_since_are_not_suggested(runs):
    """And a table whose labels are taken in makes room for the next one."""
    data = datasets.load("toy", "datasets")
    rows = np.arange(len(data.arrays.train_label))
    path = datasets.path("toy", "datasets")
    late, = np.nonzero((rows % 2 == 0) & ~np.isin(rows, restored(runs["toy"])[1]["labelled"]))
    given = np.where(np.isin(rows, late), -1, data.arrays.train_label)
    h5.write(path, data.arrays._replace(train_label=given), "toy", data.class_names, "made up")
    asked, words = [], ["--checkpoint", str(runs["toy"]), "--data_dir", "datasets", "--suggest", "3"]
    for _ in range(2):
        evaler.main(words)
        lines = table(runs["toy"] / "eval" / "suggest.csv")
        asked += [int(line["row"]) for line in lines]
        (runs["toy"] / "eval" / "suggest.csv").write_text("row,label\n" + "".join(f"{line['row']},kind 1\n"
                                                                                  for line in lines))
        with pytest.raises(UserError, match=r"suggest\.csv: is already there, and toy does not hold its labels"):
            evaler.main(words)
        download.main(["--dataset", "toy", "--labels", str(runs["toy"] / "eval" / "suggest.csv")])
    assert len(set(asked)) == 6
    assert set(asked) <= set(late.tolist())


def test_the_exported_classifier_is_the_calibrated_one(runs, tmp_path, capsys):
    evaler.main(["--checkpoint", str(runs["gan"]), "--export", "c.pt2"])
    run, saved = restored(runs["gan"])
    images = run.data.arrays.test_image[:4]
    probabilities, _ = torch.export.load(tmp_path / "c.pt2").module()(torch.from_numpy(images))
    t = calibration.of(run, saved).temperature
    classes = evaluate.predict(run.averaged, images, run.device).classes
    torch.testing.assert_close(probabilities, torch.softmax(classes / t, 1), rtol=1e-4, atol=1e-5)
    assert f"temperature {t:.3f}, fitted on 50 validation" in capsys.readouterr().out


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_what_the_readme_says_of_an_exported_classifier_is_what_predict_says(resize, runs, capsys):
    edit(runs["gan"] / "model-30.pt", lambda saved: saved["data"].update(resize=resize))
    evaler.main(["--checkpoint", str(runs["gan"]), "--export", "classifier.pt2"])
    Path("photographs").mkdir()
    tall = Image.fromarray(load_sample_image("flower.jpg")).rotate(90, expand=True)
    for name, picture in (("wide", Image.fromarray(load_sample_image("china.jpg"))), ("tall", tall)):
        picture.thumbnail((90, 90))
        picture.save(f"photographs/{name}.png")
    evaler.main(["--checkpoint", str(runs["gan"]), "--predict", "photographs"])
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    code = re.search(r"nothing of this repository:\n\n((?:    .*\n)+)", readme)[1]
    for line in table(Path("predictions.csv")):
        shutil.copy(line["file"], "new.jpg")
        capsys.readouterr()
        exec(textwrap.dedent(code), {})
        name, confidence, real = capsys.readouterr().out.split()
        assert name == line["class"]
        assert float(confidence) == pytest.approx(float(line["confidence"]), abs=0.01)
        assert float(real) == pytest.approx(float(line["real"]), abs=0.01)


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_is_found_again(true):
    torch.manual_seed(0)
    logits = 3 * torch.randn(20_000, 5)
    labels = torch.distributions.Categorical(logits=logits).sample()
    assert calibration.temperature(true * logits, labels, 0.05) == pytest.approx(true, rel=0.05)
    assert calibration.temperature(true * logits, labels, 1.0) == pytest.approx(max(true, 1.0), rel=0.05)


def test_the_temperature_is_fitted_on_training_images_alone(runs, tmp_path):
    run, saved = restored(runs["gan"])
    before = calibration.of(run, saved)
    arrays = run.data.arrays
    other = arrays._replace(test_image=255 - arrays.test_image, test_label=np.roll(arrays.test_label, 1))
    assert calibration.of(run._replace(data=run.data._replace(arrays=other)), saved) == before
    assert before.fitted_on == "50 validation images"
    labels = datasets.load("Digits", tmp_path).arrays.train_label
    held = splits.choose(labels, 10, 50, 1, 50).validation
    classes = evaluate.predict(run.averaged, arrays.train_image[held], run.device).classes
    assert before.temperature == calibration.temperature(classes, torch.from_numpy(labels[held]), 0.05)


def test_a_temperature_at_its_bound_is_told_as_that():
    found = calibration.Calibration(10.5484, "92 validation images", None)
    assert found.told() == "temperature 10.548, fitted on 92 validation images"
    unsure = torch.zeros(4, 2)
    unsure[:, 0] = torch.tensor([9.0, -9.0, 9.0, -9.0])
    at_bound = calibration.temperature(unsure, torch.tensor([0, 0, 1, 1]), 0.05)
    assert "temperature 20.000, the highest tried, fitted" in found._replace(temperature=at_bound).told()


def test_validation_images_of_which_none_is_mistaken_make_nobody_surer(runs):
    run, saved = restored(runs["gan"])
    arrays, rows = run.data.arrays, saved["validation"]
    right = evaluate.predict(run.averaged, arrays.train_image[rows], run.device).classes.argmax(1)
    labels = arrays.train_label.copy()
    labels[rows] = right
    assert calibration.of(run._replace(data=run.data._replace(arrays=arrays._replace(train_label=labels))),
                          saved).temperature >= 1


def test_labelled_images_learnt_by_heart_make_nobody_surer(runs, monkeypatch):
    run, saved = restored(runs["alone"])
    sure = torch.nn.functional.one_hot(torch.from_numpy(run.data.arrays.train_label[saved["labelled"].numpy()]))
    monkeypatch.setattr(calibration.evaluate, "predict", lambda *args: Verdict(3.0 * sure, sure[:, 0], sure))
    found = calibration.of(run, saved)
    assert found.temperature == pytest.approx(1.0)
    assert found.fitted_on == "50 labelled images"


def test_the_page_of_a_run_tells_what_eval_json_holds(runs):
    result = evaluated(runs["gan"])
    page = (runs["gan"] / "eval" / "card.md").read_text()
    for what in (f"{result['accuracy']:.2%}", "50 images of the training set are labelled", "label seed 1",
                 result["data_digest"][:12], result["versions"]["training"]["torch"], "Salimans et al. 2016",
                 result["selection"], f"`{result['command']}`", f"{result['supervised_baseline']['accuracy']:.2%}",
                 "those of 50 others were used for accuracies only", f"likelihood {result['nll']:.4f} nats"):
        assert what in page
    worst = sorted((row for row in result["per_class"] if row["errors"]), key=lambda row: -row["errors"])
    told = re.search(r"Most mistakes: (.+)\.", page)[1].split(", ")
    assert told == [f"{row['class']} ({row['accuracy']:.1%} right)" for row in worst[:3]]


def test_pictures_that_cannot_be_written_leave_those_that_are_there(pictured):
    evaluated(pictured["toy"])
    before = {path.name: path.read_bytes() for path in (pictured["toy"] / "eval").glob("*.png")}
    done = subprocess.run(["bash", "-c", f"ulimit -f 12; exec {sys.executable} {ROOT / 'evaler.py'} "
                                         f"--checkpoint {pictured['toy']}"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "eval: its pictures cannot be written (File too large)" in done.stderr
    assert {path.name: path.read_bytes() for path in (pictured["toy"] / "eval").glob("*.png")} == before
    assert not list((pictured["toy"] / "eval").glob(".*"))
