"""Images to label next, and tables of labels, through download.py."""
import csv
import shlex
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import datasets
import download
import evaler
import trainer
from config import UserError
from datasets import files, h5, labelling
from engine import labels, state, use
from tests.conftest import toy_arrays, write_odd
from tests.mirror import mounted
from tests.runs import differing, evaluated, weights


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def filled(path, names):
    """The table with these class names in its rows."""
    rows = [int(line["row"]) for line in csv.DictReader(path.open())]
    path.write_text("row,label\n" + "".join(f"{row},{name}\n" for row, name in zip(rows, names, strict=True)))
    return rows


def test_labels_are_asked_for_and_taken_in(tmp_path, capsys):
    data = write_odd(tmp_path / "datasets", shape=(16, 16, 3))
    hidden = data.arrays._replace(train_label=np.where(np.arange(42) < 5, data.arrays.train_label, -1))
    path = datasets.path("toy", tmp_path / "datasets")
    h5.write(path, hidden, "toy", data.class_names, "made up")
    assert download.main(["--dataset", "toy", "--suggest", "6"]) == 0
    table, sheet = (path.parent / name for name in ("suggest.csv", "suggest.png"))
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    rows = filled(table, ["kind 1"] * 4 + ["new", ""])
    assert min(rows) >= 5
    with table.open("a") as file:  # a table may tell again what is known
        file.write(f"0,{data.class_names[data.arrays.train_label[0]]}\n")
    with pytest.raises(UserError, match=r"suggest\.csv: is already there"):
        download.main(["--dataset", "toy", "--suggest", "6"])
    assert download.main(["--dataset", "toy", "--labels", str(table)]) == 0
    said = capsys.readouterr().out
    assert "5 new labels, 0 corrected; 10 of 42 training images have one, in 4 classes" in said
    assert "Classes that are new, of which there is no test image: new." in said
    after = datasets.load("toy", "datasets")
    expected = hidden.train_label.copy()
    expected[rows[:4]], expected[rows[4]] = 1, 3
    assert after.arrays.train_label.tolist() == expected.tolist()
    assert after.class_names == (*data.class_names, "new")
    np.testing.assert_array_equal(after.arrays.train_image, hidden.train_image)


def test_what_is_suggested_of_a_published_set_can_be_trained_with(capsys):
    assert download.main(["--dataset", "digits", "--suggest", "12"]) == 0
    words = capsys.readouterr().out.splitlines()[-1].removeprefix("python trainer.py ").split()
    assert trainer.main([*words, "--device=cpu", "--steps=1"]) == 0
    rows = Path("datasets/digits/suggest.txt").read_text().split()
    assert len(rows) == 12
    assert state.load(state.find("train_dir"))["labelled"].tolist() == sorted(map(int, rows))
    with pytest.raises(UserError, match=r"suggest\.txt: is already there; delete it"):
        download.main(["--dataset", "digits", "--suggest", "12"])


def test_a_suggestion_on_a_full_disk_leaves_no_part_of_a_table(tmp_path):
    data = datasets.load("digits", "datasets")
    (tmp_path / "disk").mkdir()
    with mounted(tmp_path / "disk", "4k") as disk:
        with pytest.raises(UserError, match=r"suggest\.png: cannot be written \(No space left"):
            labels.ask(disk, data, disk, np.zeros((len(data.arrays.train_image), 1)), np.arange(1400), 5, 1)
        assert list(disk.iterdir()) == []


def test_the_commands_that_are_told_can_be_run(tmp_path, capsys):
    data = write_odd(tmp_path / "two words")
    hidden = data.arrays._replace(train_label=np.where(np.arange(42) < 5, data.arrays.train_label, -1))
    h5.write(datasets.path("toy", tmp_path / "two words"), hidden, "toy", data.class_names, "made up")
    download.main(["--dataset", "toy", "--data_dir", "two words", "--suggest", "6"])
    *_, command = capsys.readouterr().out.splitlines()
    filled(tmp_path / "two words" / "toy" / "suggest.csv", ["kind 1"] * 6)
    script, *words = shlex.split(command)[1:]
    assert (script, download.main(words)) == ("download.py", 0)
    *_, command = capsys.readouterr().out.splitlines()
    script, *words = shlex.split(command)[1:]
    assert script == "trainer.py"
    trainer.main([*words, "--dry-run"])


def test_a_set_whose_folder_has_capital_letters_is_labelled_where_it_lies(tmp_path):
    data = write_odd(tmp_path / "datasets")
    hidden = data.arrays._replace(train_label=np.where(np.arange(42) < 5, data.arrays.train_label, -1))
    h5.write(tmp_path / "datasets" / "Caps" / "data.h5", hidden, "Caps", data.class_names, "made up")
    assert download.main(["--dataset", "caps", "--suggest", "6"]) == 0
    table = tmp_path / "datasets" / "Caps" / "suggest.csv"
    filled(table, ["kind 1"] * 6)
    assert download.main(["--dataset", "Caps", "--labels", str(table)]) == 0
    assert sorted(path.name for path in (tmp_path / "datasets").iterdir()) == ["Caps", "toy"]


def test_a_table_of_other_pictures_is_refused(tmp_path):
    data = write_odd(tmp_path / "datasets")
    path = datasets.path("toy", tmp_path / "datasets")
    path.with_name("files.csv").write_text("row,file\n" + "".join(f"{row},{row}.png\n" for row in range(42)))
    table = tmp_path / "labels.csv"
    table.write_text("row,label,file\n3,kind 0,3.png\n5,kind 1,50.png\n")
    before = path.read_bytes()
    for mark in ("", "\ufeff"):  # some programs begin a table with one
        table.write_text(f"{mark}row,label,file\n3,kind 0,3.png\n5,kind 1,50.png\n", encoding="utf-8")
        with pytest.raises(UserError, match=r"labels\.csv: row 5 is 5\.png in .*, not 50\.png; the table was made for"):
            download.main(["--dataset", "toy", "--labels", str(table)])
        assert path.read_bytes() == before
    table.write_text("row,label,file\n3,kind 0,3.png\n5,kind 1,5.png\n")
    assert download.main(["--dataset", "toy", "--labels", str(table)]) == 0
    changed = datasets.load("toy", "datasets").arrays.train_label != data.arrays.train_label
    assert set(np.flatnonzero(changed)) <= {3, 5}


def test_a_table_of_images_without_names_is_refused_by_another_set(tmp_path):
    data, path = write_odd(tmp_path / "datasets"), datasets.path("toy", tmp_path / "datasets")
    some = np.where(np.arange(42) % 4, -1, data.arrays.train_label)
    data = data._replace(arrays=data.arrays._replace(train_label=some))
    h5.write(path, data.arrays, "toy", data.class_names, data.source)
    download.main(["--dataset", "toy", "--suggest", "2"])
    table = path.with_name("suggest.csv")
    table.write_text(table.read_text().replace(",,", ",kind 1,"))
    turned = data.arrays._replace(train_image=data.arrays.train_image[::-1])
    h5.write(path, turned, "toy", data.class_names, data.source)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"suggest\.csv: row \d+ of .* is another image than that of the table"):
        download.main(["--dataset", "toy", "--labels", str(table)])
    assert path.read_bytes() == before
    h5.write(path, data.arrays, "toy", data.class_names, data.source)
    assert download.main(["--dataset", "toy", "--labels", str(table)]) == 0


@pytest.mark.parametrize(("text", "said"), [
    ("row,label\n1,?\n", r"line 2: label \?; leave the field empty"), ("row,label\n1,-1\n", "no label is filled in"),
    ("row,label\n1,kind, 1\n", "line 2: more fields"), ("row,label\n1,a\x1bb\n", "line 2: the label .* cannot be"),
    (f"row,label\n{'9' * 5000},kind 1\n", "line 2: row '9+ is no number"),
    ("row,label\n99,kind 1\n", "row 99, but .* 0 to 41"), ("row,label\nx,kind 1\n", "line 2: row 'x' is no number"),
    ("row,label\n1,\n", "no label is filled in yet"), ("a,b\n1,2\n", "columns row and label"),
    ("", "columns row and label"), ("row,label,label\n1,kind 0,kind 1\n", "each once"),
    ("row;label\n1;kind 0", "with a comma between them"),
    ("row,label\n\n\nx,kind 1\n", "line 4: row 'x' is no number"),
    ("row,label\n3,kind 0\n3,kind 1\n", "line 3: row 3 is 'kind 0' and 'kind 1'")])
def test_labels_that_do_not_fit_change_nothing(text, said, tmp_path):
    write_odd(tmp_path / "datasets")
    path = datasets.path("toy", tmp_path / "datasets")
    before = path.read_bytes()
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=f"--labels labels.csv.*{said}"):
        download.main(["--dataset", "toy", "--labels", "labels.csv"])
    assert path.read_bytes() == before


def test_a_set_without_labels_takes_none_and_one_with_some_does(capsys):
    images, rows = toy_arrays((8, 8, 3), 2, train=20, test=2).train_image, np.arange(20)
    np.savez("none.npz", x=images)
    np.savez("some.npz", x=images, y=np.where(rows < 8, rows % 2, -1))
    for name in ("some", "none"):
        assert download.main(["--from_file", f"{name}.npz", "--dataset", name]) == 0
    assert download.main(["--dataset", "some", "--suggest", "4"]) == 0
    filled(Path("datasets/some/suggest.csv"), ["1"] * 4)
    shutil.copy("datasets/some/suggest.csv", "datasets/none")
    with pytest.raises(UserError, match="--suggest 4: none has no classes"):
        download.main(["--dataset", "none", "--suggest", "4"])
    with pytest.raises(UserError, match=r"have no labels.*\nMake the data set again .* y in --from_file") as caught:
        download.main(["--dataset", "none", "--labels", "datasets/none/suggest.csv"])
    assert len(str(caught.value).splitlines()) == 2
    assert download.main(["--dataset", "some", "--labels", "datasets/some/suggest.csv"]) == 0
    assert "4 new labels, 0 corrected; 10 of 18 training images have one, in 2 classes" in capsys.readouterr().out


def test_hidden_labels_cannot_matter_for_what_is_suggested(tmp_path):
    asked = []
    for name in ("one", "two"):
        folder = tmp_path / name
        data = write_odd(folder)
        labels = data.arrays.train_label.copy()
        labels[10:] = -1
        if name == "two":  # other labels of the same rows
            labels[:10] = (labels[:10] + 1) % 3
        h5.write(datasets.path("toy", folder), data.arrays._replace(train_label=labels), "toy", data.class_names, "")
        download.main(["--dataset", "toy", "--suggest", "8", "--data_dir", str(folder)])
        asked.append((folder / "toy" / "suggest.csv").read_text())
    assert asked[0] == asked[1]


def with_labels(rows):
    """A data set named "toy" in which only those rows of its 42 training images have their labels."""
    data = write_odd(Path("datasets"))
    labels = np.where(np.isin(np.arange(42), rows), data.arrays.train_label, -1)
    arrays = data.arrays._replace(train_label=labels)
    return h5.write(datasets.path("toy", "datasets"), arrays, "toy", data.class_names, "made up")


def test_a_run_is_evaluated_and_gone_on_with_when_labels_were_added_and_corrected(monkeypatch, capsys):
    """Its own labelled and validation rows count, with the labels that it had."""
    monkeypatch.setattr(use, "draw", lambda *args: [])  # pictures take seconds
    data = with_labels(np.arange(30))
    words = ["--dataset=toy", "--device=cpu", "--labels=9", "--validation=8", "--batch_size=6", "--steps=6",
             "--eval_every=3", "--save_every=3"]
    for name in ("whole", "resumed"):
        assert trainer.main([*words, f"--train_dir={name}"]) == 0
    assert "13 more labels of toy stay hidden; --labels NUMBER uses more of them, --labelled all every one" in \
        capsys.readouterr().err
    whole, resumed = (next(Path(name).iterdir()) for name in ("whole", "resumed"))
    (resumed / "model-6.pt").unlink()
    before = evaluated(resumed), table(resumed)
    rows = state.load(resumed / "model-3.pt")["labelled"].tolist()
    other = {0: "kind 1", 1: "kind 2", 2: "kind 0"}
    taken = {**{row: other[data.arrays.train_label[row]] for row in rows[:4]}, 35: "kind 0", 36: "new"}
    take_in(taken)
    assert datasets.load("toy", "datasets").class_names[-1] == "new"
    assert (evaluated(resumed), table(resumed)) == before
    assert trainer.main([f"--checkpoint={resumed}"]) == 0
    assert differing(weights(whole), weights(resumed)) == []


def take_in(labels):
    """Take in a table of those labels by row."""
    Path("labels.csv").write_text("row,label\n" + "".join(f"{row},{name}\n" for row, name in labels.items()))
    assert download.main(["--dataset", "toy", "--labels", "labels.csv"]) == 0


def test_a_misspelt_label_is_told_and_can_be_corrected(capsys):
    data = with_labels(np.arange(10))
    take_in({20: "bird", 21: "Knid 1", 22: "fish"})
    assert "no test image: bird, Knid 1 (near to kind 1), fish. If one is misspelt" in capsys.readouterr().out
    take_in({20: "bird", 21: "kind 1", 3: "kind 2" if data.arrays.train_label[3] != 2 else "kind 0"})
    said = capsys.readouterr().out
    assert "0 new labels, 2 corrected; 13 of 42 training images have one, in 5 classes" in said
    assert "no image is left, taken out: Knid 1" in said
    after = datasets.load("toy", "datasets")
    assert after.class_names == (*data.class_names, "bird", "fish")
    assert after.arrays.train_label[[20, 21, 22]].tolist() == [3, 1, 4]
    assert (after.arrays.train_label[30:] == -1).all()
    assert after.digest == data.digest


def test_what_to_do_with_a_copy_of_a_data_set_names_the_copy(capsys):
    with_labels(np.arange(10))
    Path("datasets/toy").rename("datasets/other")
    Path("labels.csv").write_text("row,label\n20,bird\n")
    assert download.main(["--dataset", "other", "--labels", "labels.csv"]) == 0
    assert "python trainer.py --dataset other --labelled all" in capsys.readouterr().out


def test_a_class_that_the_test_images_are_counted_by_stays_without_training_images():
    data = with_labels(np.arange(10))
    take_in(dict.fromkeys(range(10), "kind 2"))
    after = datasets.load("toy", "datasets")
    assert (after.class_names, after.digest) == (data.class_names, data.digest)


def test_two_processes_do_not_write_one_data_set():
    with_labels(np.arange(10))
    take_in({20: "bird"})  # beside nobody
    with files.alone(Path("datasets/toy")):
        with pytest.raises(UserError, match="datasets/toy: another process writes this data set; wait"):
            take_in({21: "bird"})
        np.savez("data.npz", x=np.zeros((8, 4, 4), np.uint8), y=np.arange(8) % 2)
        datasets.path("toy", "datasets").unlink()
        with pytest.raises(UserError, match="datasets/toy: another process writes"):
            download.main(["--from_file", "data.npz", "--dataset", "toy"])


@pytest.mark.parametrize("damaged", [False, True])
def test_images_that_stay_in_the_file_are_checked_before_it_is_replaced(damaged):
    data, path = with_labels(np.arange(10)), datasets.path("toy", "datasets")
    if damaged:
        with h5py.File(path, "r+") as file:
            file["train/image"][41, 0, 0, 0] ^= 1
    before = path.read_bytes()
    Path("labels.csv").write_text("row,label\n20,bird\n")
    if damaged:
        with pytest.raises(UserError, match="damaged: the digest of its images"):
            labelling.take_in(path, Path("labels.csv"), budget=0)
        assert path.read_bytes() == before
    else:
        taken = labelling.take_in(path, Path("labels.csv"), budget=0)
        assert isinstance(taken.data.arrays.train_image, np.memmap)
        assert (taken.new, h5.read(path).digest, h5.read(path).class_names[-1]) == (1, data.digest, "bird")


def table(run):
    """What --predict says of two pictures."""
    for number in range(2):
        Image.fromarray(np.full((8, 8), 90 * number, np.uint8)).save(f"{number}.png")
    evaler.main(["--checkpoint", str(run), "--predict", "0.png", "1.png", "--output", "p.csv"])
    return Path("p.csv").read_text()


@pytest.mark.parametrize(("name", "near"), [("cta", "cat"), ("Cat", "cat"), ("catt", "cat"), ("dgo", "dog"),
                                            ("bird", None), ("act now", None), ("3.0", "3"), ("30", None)])
def test_misspellings_are_near_to_what_was_meant(name, near):
    assert labelling.alike(name, ["cat", "dog", "3", name]) == near
