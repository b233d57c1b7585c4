"""Data of the user's own, through download.py: files of arrays and torchvision's sets."""
import contextlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import datasets
import download
from config import UserError
from tests.conftest import toy_arrays


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def npz(name="data.npz", classes=10, shape=(48, 40, 3), **more):
    arrays = toy_arrays(shape, classes, train=3 * classes, test=classes)
    np.savez(name, x=np.concatenate([arrays.train_image, arrays.test_image]),
             y=np.concatenate([arrays.train_label, arrays.test_label]), **more)


@pytest.mark.parametrize(("classes", "shape"), [(10, (48, 40, 3)), (2, (16, 16, 1)), (200, (16, 16, 3))])
def test_a_file_of_arrays_becomes_a_data_set(classes, shape, capsys):
    npz(classes=classes, shape=shape)
    assert download.main(["--from_file", "data.npz", "--dataset", "mine", "--test_share", "0.25"]) == 0
    data = datasets.load("mine", "datasets")
    assert (data.spec.shape, data.spec.classes) == (shape, classes)
    assert np.bincount(data.arrays.test_label).tolist() == [1] * classes
    assert f"{3 * classes} train (0 of them unlabelled) and {classes} test images" in capsys.readouterr().out


def test_labels_may_begin_at_one():
    arrays = toy_arrays((8, 8, 3), 2, train=8, test=4)
    np.savez("one.npz", x=arrays.train_image, y=arrays.train_label + 1)
    assert download.main(["--from_file", "one.npz", "--dataset", "one"]) == 0
    data = datasets.load("one", "datasets")
    assert data.class_names == ("1", "2")
    assert np.unique(data.arrays.train_label).tolist() == [0, 1]
    np.savez("odd.npz", x_train=arrays.train_image, y_train=arrays.train_label, x_test=arrays.test_image,
             y_test=arrays.test_label + 1)
    with pytest.raises(UserError, match=r"--from_file odd.npz: class 2 has test images, but no training image"):
        download.main(["--from_file", "odd.npz", "--dataset", "odd"])


@pytest.mark.parametrize(("labels", "said"), [
    ([1, -1] * 4, r"one class \(1\) was found, but a classifier needs two; label -1"), ([0] * 8, r"one class \(0\)"),
    (range(8), "--test_share: no class has two images")])
def test_labels_of_which_no_classifier_can_be_made(labels, said, tmp_path):
    np.savez("odd.npz", x=toy_arrays((8, 8, 3), 2, train=8, test=4).train_image, y=labels)
    with pytest.raises(UserError, match=said):
        download.main(["--from_file", "odd.npz", "--dataset", "odd"])
    assert [path.name for path in tmp_path.iterdir()] == ["odd.npz"]


def test_classes_without_test_images_are_told(capsys):
    arrays = toy_arrays((8, 8, 3), 3, train=9, test=6)
    some = arrays.test_label == 1
    np.savez("some.npz", x_train=arrays.train_image, y_train=arrays.train_label, x_test=arrays.test_image[some],
             y_test=arrays.test_label[some])
    assert download.main(["--from_file", "some.npz", "--dataset", "some"]) == 0
    assert "\nNo test image is of 0, 2: the test accuracy says nothing of these classes\n" in capsys.readouterr().out
    npz()
    assert download.main(["--from_file", "data.npz", "--dataset", "whole"]) == 0
    said = capsys.readouterr().out
    assert "No test image" not in said
    assert "Only 10 test images: each is 10.0 percentage points of the accuracy" in said


def test_test_images_are_not_trained_on(capsys):
    arrays = toy_arrays((8, 8, 3), 2, train=8, test=4)
    np.savez("leak.npz", x_train=np.append(arrays.train_image, arrays.test_image, 0), x_test=arrays.test_image,
             y_train=np.append(arrays.train_label, arrays.test_label), y_test=arrays.test_label)
    assert download.main(["--from_file", "leak.npz", "--dataset", "leak"]) == 0
    assert "; 4 training images that are test images left out" in capsys.readouterr().out
    np.testing.assert_array_equal(datasets.load("leak", "datasets").arrays.train_image, arrays.train_image)


def test_an_image_under_two_classes_is_told(capsys):
    train, test = toy_arrays((8, 8, 3), 2, train=8, test=4), toy_arrays((8, 8, 3), 2, train=2, test=4)
    labels = np.concatenate([train.train_label, 1 - train.train_label[:3], train.train_label[3:5], [-1]])
    np.savez("twice.npz", x_train=np.concatenate([train.train_image, train.train_image[:6]]), y_train=labels,
             x_test=255 - test.test_image, y_test=test.test_label)
    assert download.main(["--from_file", "twice.npz", "--dataset", "twice"]) == 0
    assert "--from_file twice.npz: 3 training images also stand under another" in capsys.readouterr().out
    npz()
    assert download.main(["--from_file", "data.npz", "--dataset", "whole"]) == 0
    assert "also stand" not in capsys.readouterr().out


def test_the_reference_layout_can_be_transposed():
    images = np.random.RandomState(0).randint(0, 256, (8, 16, 24, 3)).astype(np.uint8)
    with h5py.File("data.hy", "w") as file:
        for i, image in enumerate(images):
            file.create_group(str(i)).update({"image": image, "label": np.arange(2) == i % 2})
    with open("id.txt", "w") as file:
        file.writelines(f"{i}\n" for i in range(8))
    for name, flags in (("plain", []), ("turned", ["--transposed"])):
        assert download.main(["--from_file", "data.hy", "--dataset", name, *flags]) == 0
    plain, turned = (datasets.load(name, "datasets").arrays.train_image for name in ("plain", "turned"))
    np.testing.assert_array_equal(turned, plain.swapaxes(1, 2))
    assert plain.shape[1:] == (16, 24, 3)


def test_a_set_of_torchvision():
    words = ["--from_torchvision", "fakedata", "size=40", "num_classes=3", "image_size=3x20x16", "--dataset", "fake"]
    assert download.main(words) == 0
    data = datasets.load("fake", "datasets")
    assert data.spec == ("fake", (20, 16, 3), 3)
    assert len(data.arrays.train_image) + len(data.arrays.test_image) == 40
    assert download.main([*words[:-1], "small", "--size", "16", "--grey"]) == 0
    assert datasets.load("small", "datasets").spec.shape == (16, 16, 1)


def test_what_a_class_of_torchvision_must_be_told_is_named():
    with pytest.raises(UserError, match="EMNIST: must be told its split; write split="):
        download.main(["--from_torchvision", "EMNIST", "--dataset", "letters"])


def test_a_set_of_ones_own_is_not_downloaded():
    assert download.main(["--from_torchvision", "fakedata", "size=40", "num_classes=2", "--dataset", "fake"]) == 0
    with pytest.raises(UserError, match="--dataset fake: data of your own, which trainer"):
        download.main(["--dataset", "fake"])


def test_torchvisions_folders_of_pictures_are_read_as_ours_are(tmp_path):
    values = np.random.RandomState(0).randint(0, 65536, (2, 6, 16, 16)).astype(np.uint16)
    for name, pictures in zip(("a", "b"), values, strict=True):
        (tmp_path / "grey" / name).mkdir(parents=True)
        (tmp_path / "clear" / name).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / "grey" / name / f"{number}.png")
            alpha = np.concatenate([picture[..., None].repeat(3, 2) >> 8, np.full((16, 16, 1), number * 40)], 2)
            Image.fromarray(alpha.astype(np.uint8)).save(tmp_path / "clear" / name / f"{number}.png")
    for kind, flags in (("grey", ["--grey"]), ("clear", [])):
        assert download.main(["--from_torchvision", "ImageFolder", f"root={kind}", "--dataset", f"{kind}1"]) == 0
        assert download.main(["--from_folder", kind, "--dataset", f"{kind}2", "--size", "16", *flags]) == 0
        theirs, ours = (datasets.load(f"{kind}{i}", "datasets").arrays for i in (1, 2))
        assert ({image.tobytes() for image in (*theirs.train_image, *theirs.test_image)}
                == {image.tobytes() for image in (*ours.train_image, *ours.test_image)})


@pytest.mark.parametrize(("words", "said"), [
    (["--from_torchvision", "CIFAR10"], "pickled.*--dataset CIFAR10"),
    (["--from_torchvision", "FakeDat"], "did you mean FakeData"),
    (["--from_torchvision"], "--from_torchvision: name a class"),
    (["--from_torchvision", "FakeData", "size=x"], "FakeData: TypeError: .*integer"),
    (["--from_torchvision", "FakeData", "colour=3"], "FakeData: TypeError: .*colour"),
    (["--from_torchvision", "FakeData", "what"], "'what' behind the name"),
    (["--from_file", "none.npz"], r"none\.npz: not there"),
    (["--from_file", "objects.npz"], r"objects\.npz: an array of it holds Python objects; store numbers"),
    (["--from_file", "table.csv"], r"table\.csv: no whole .npz or HDF5 file; numpy\.savez"),
    (["--from_file", "hidden.npz"], r"--from_file hidden\.npz: .*test/label from -1 to 1"),
    (["--from_file", "data.npz", "--size", "8"], "--size: not used with --from_file"),
    (["--from_file", "data.npz", "--suggest", "2"], "--suggest: not used with --from_file")])
def test_what_cannot_be_made_says_why_and_leaves_nothing(words, said, tmp_path):
    npz()
    y = np.arange(8) % 2
    np.savez("objects.npz", x=np.zeros((8, 4, 4), np.uint8), y=y.astype(object))
    np.savez("hidden.npz", x_train=np.arange(128, dtype=np.uint8).reshape(8, 4, 4), y_train=y,
             x_test=np.full((8, 4, 4), 200, np.uint8), y_test=y - (np.arange(8) == 0))
    Path("table.csv").write_text("x,y")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=said):
        download.main([*words, "--dataset", "mine"])
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("words", [["--from_torchvision", "Nonsense"], ["--from_torchvision", "FakeData", "size=40"],
                                   ["--from_file", "data.npz"], ["--from_folder", "nowhere"]])
def test_files_of_the_user_in_the_folder_of_a_new_set_stay(words, tmp_path):
    npz(classes=3, shape=(16, 16, 3))
    home = tmp_path / "datasets" / "mine"
    for name in ("raw/own.png", "files.csv"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("of the user")
    with pytest.raises(UserError, match=r"files\.csv: not written by download\.py"):
        download.main([*words, "--dataset", "mine"])
    (home / "files.csv").rename(home / "own.csv")
    with contextlib.suppress(UserError):
        download.main([*words, "--dataset", "mine"])
    assert (home / "raw" / "own.png").read_text() == (home / "own.csv").read_text() == "of the user"
    assert {path.name for path in home.iterdir()} - {"data.h5"} == {"raw", "own.csv"}


def test_a_folder_for_a_set_of_torchvision_can_be_named(tmp_path, monkeypatch):
    for name in ("train/a/0.png", "train/b/1.png", "train/a/2.png", "train/b/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), ord(name[-5]), np.uint8)).save(tmp_path / name)
    words = ["--from_torchvision", "ImageFolder", "root=train", "--dataset", "mine", "--test_share", "0.5"]
    assert download.main(words) == 0
    assert datasets.load("mine", "datasets").class_names == ("a", "b")
    with pytest.raises(UserError, match=r"'train=True': train is chosen by download\.py"):
        download.main(["--from_torchvision", "MNIST", "train=True", "--dataset", "other"])
