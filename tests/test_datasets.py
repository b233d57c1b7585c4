"""The registry of data sets, those of the user among them, and where the published ones come from."""
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

import datasets
from config import Spec, UserError
from datasets import h5
from tests import mirror

PUBLISHED = {"Digits": (8, 8, 1), "Circles": (1, 2, 1), "MNIST": (28, 28, 1), "Fashion": (28, 28, 1),
             "SVHN": (32, 32, 3), "CIFAR10": (32, 32, 3)}
EMBEDDED = {"Digits", "Circles"}


def test_the_registry_holds_the_published_sets():
    assert {name: source.shape for name, source in datasets.DATASETS.items()} == PUBLISHED
    for name, source in datasets.DATASETS.items():
        assert source.name == name
        assert len(set(source.class_names)) == (2 if name == "Circles" else 10)
        assert source.embedded == (name in EMBEDDED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_spec_needs_no_file(tmp_path, name):
    for spelling in (name, name.lower(), name.upper()):
        assert datasets.spec(spelling, tmp_path / "none") == Spec(name, PUBLISHED[name], 2 if name == "Circles" else 10)


@pytest.mark.parametrize("name", sorted(PUBLISHED.keys() - EMBEDDED))
def test_a_set_that_is_not_there_names_the_command(tmp_path, name):
    with pytest.raises(UserError, match=f"python download.py --dataset {name}"):
        datasets.load(name.lower(), tmp_path)


def test_a_typo_gets_the_nearest_name(tmp_path):
    for call in (datasets.load, datasets.spec):
        with pytest.raises(UserError, match="did you mean CIFAR10"):
            call("cifar", tmp_path)


def test_digits_are_embedded_and_their_split_is_pinned(tmp_path):
    data = datasets.load("digits", tmp_path / "none")
    assert data.spec == Spec("Digits", (8, 8, 1), 10)
    assert data.arrays.train_image.shape == (1437, 8, 8, 1)
    assert data.arrays.test_image.shape == (360, 8, 8, 1)
    assert data.arrays.train_image.max() == 255
    assert set(np.unique(data.arrays.train_image)) == {round(v * 255 / 16) for v in range(17)}
    assert np.bincount(data.arrays.test_label).min() >= 35
    assert h5.digests(data.arrays)[0] == "efe6899a330305d44aaba3599e1bd2106a439739818616ef0766b78b57d0bee8"
    assert not (tmp_path / "none").exists()


def test_circles_are_two_rings_and_pinned(tmp_path):
    data = datasets.load("circles", tmp_path / "none")
    assert data.spec == Spec("Circles", (1, 2, 1), 2)
    assert data.spec.points
    for images, labels, count in ((data.arrays.train_image, data.arrays.train_label, 2000),
                                  (data.arrays.test_image, data.arrays.test_label, 1000)):
        assert np.bincount(labels).tolist() == [count // 2] * 2
        x, y = (images.reshape(count, 2) * (3 / 255) - 1.5).T
        distance = np.hypot(x, y)
        assert [distance[labels == k].mean() for k in (0, 1)] == pytest.approx([0.5, 1.0], abs=0.02)
        assert (distance < 1.4).all()  # none is cut off at the edge of what bytes say
        assert ((distance > 0.75) == labels).mean() > 0.99
    assert h5.digests(data.arrays)[0] == "eb038256bf22bd33c5620912cd7fd1bb16cefe808da0d67902c1089b4ff5eb7b"


def own(data_dir, folder="toy", name="Toy", shape=(5, 4, 3)):
    arrays = h5.Arrays(mirror.images(6, shape), mirror.labels(6) % 3, mirror.images(4, shape), mirror.labels(4) % 3)
    return h5.write(data_dir / folder / "data.h5", arrays, name, ("a", "b", "c"), "made up")


def test_a_set_of_the_users_own_is_found_by_the_name_of_its_folder(tmp_path):
    data = own(tmp_path, "My-Toy")
    for name in ("My-Toy", "my-toy"):
        assert datasets.load(name, tmp_path).digest == data.digest
        assert datasets.spec(name, tmp_path) == datasets.load(name, tmp_path).spec == Spec("My-Toy", (5, 4, 3), 3)
    with pytest.raises(UserError, match="did you mean My-Toy"):
        datasets.load("mytoy", tmp_path)


def test_a_set_of_the_users_own_cannot_pass_for_a_published_one(tmp_path):
    own(tmp_path, "mnist", "MNIST")
    with pytest.raises(UserError, match=r"mnist/data\.h5: holds .* but MNIST is"):
        datasets.load("MNIST", tmp_path)
    own(tmp_path, "digits", "Digits")
    assert len(datasets.load("Digits", tmp_path).arrays.train_image) == 1437
    with pytest.raises(UserError, match=rf"Known: {', '.join(datasets.DATASETS)}$"):
        datasets.load("imagenet", tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "../toy", "a/b", "/etc", "a\\b", "a\0b"])
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    own(tmp_path)
    (tmp_path / "inner").mkdir()
    for call in (datasets.path, datasets.load, datasets.spec):
        with pytest.raises(UserError):
            call(name, tmp_path / "inner")


def test_the_path_is_lower_case(tmp_path):
    assert datasets.path("CIFAR10", tmp_path) == tmp_path / "cifar10" / "data.h5"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_may_not_be_entered(tmp_path):
    own(tmp_path, "mnist", "MNIST")
    tmp_path.chmod(0)
    os.seteuid(65534)
    try:
        with pytest.raises(UserError, match="not there"):
            datasets.load("MNIST", tmp_path)
    finally:
        os.seteuid(0)
        tmp_path.chmod(0o700)


def test_upstream_addresses_and_digests():
    """Every file has an http(s) address that ends in its name, and an md5."""
    names = {}
    for source in datasets.DATASETS.values():
        for file in source.files:
            assert Path(file.name).name == file.name
            assert file.urls
            assert all(url.startswith(("http://", "https://")) and url.endswith(f"/{file.name}") for url in file.urls)
            assert len(bytes.fromhex(file.md5)) == hashlib.md5().digest_size
        names[source.name] = [file.name for file in source.files]
    assert names["SVHN"] == ["train_32x32.mat", "test_32x32.mat"]
    assert names["CIFAR10"] == ["cifar-10-binary.tar.gz"]
    assert names["MNIST"] == names["Fashion"]
    assert len(names["MNIST"]) == 4
    assert names["Digits"] == names["Circles"] == []


@pytest.mark.parametrize(("labels", "usual", "expected"), [
    ([0, 1] * 30, 20, 20), ([0, 1] * 3, 20, 6), ([0] * 30 + [1] * 4, 20, 8),
    ([0, 1] * 15 + [-1] * 50, 20, 30), ([0] * 9 + [1] * 5 + [-1], 20, 10), ([0, 0, -1], 20, 20)])
def test_labels_to_begin_with(tmp_path, labels, usual, expected):
    """All labels where there are unlabelled images, else no more than there are; without a choice, what is usual."""
    label = np.array(labels)
    image = np.zeros((len(label), 4, 4, 1), np.uint8)
    arrays = h5.Arrays(image, label, image[:2], np.array([0, 1]))
    h5.write(datasets.path("own", tmp_path), arrays, "own", ("a", "b"), "")
    assert datasets.labels_at_hand("own", tmp_path, usual) == expected
    assert datasets.labels_at_hand("digits", tmp_path, 50) == 50
