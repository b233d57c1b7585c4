import gzip
import hashlib
import os
import struct
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

import datasets
from config import Spec, UserError
from datasets import cifar10, fashion, h5, mnist, svhn
from tests import mirror

PUBLISHED = {"Digits": (8, 8, 1), "Circles": (1, 2, 1), "MNIST": (28, 28, 1), "Fashion": (28, 28, 1),
             "SVHN": (32, 32, 3), "CIFAR10": (32, 32, 3)}
EMBEDDED = {"Digits", "Circles"}


# The registry


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
    assert data.digest == "efe6899a330305d44aaba3599e1bd2106a439739818616ef0766b78b57d0bee8"
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
    assert data.digest == "eb038256bf22bd33c5620912cd7fd1bb16cefe808da0d67902c1089b4ff5eb7b"


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
    with pytest.raises(UserError, match=r"Known: Digits, Circles, MNIST, Fashion, SVHN, CIFAR10$"):
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


# MNIST and Fashion-MNIST


def test_mnist_keeps_order_and_split(tmp_path):
    mirror.make_mnist(tmp_path)
    for module in (mnist, fashion):
        arrays = module.SOURCE.build(tmp_path)
        np.testing.assert_array_equal(arrays.train_image[..., 0], mirror.images(40, (28, 28), 0))
        np.testing.assert_array_equal(arrays.test_image[..., 0], mirror.images(20, (28, 28), 1))
        np.testing.assert_array_equal(arrays.train_label, mirror.labels(40))
        np.testing.assert_array_equal(arrays.test_label, mirror.labels(20))
        h5.pack(arrays, "MNIST", module.SOURCE.class_names, "")


def header(*values):
    return struct.pack(f">{len(values)}I", *values)


BAD_IDX = {
    "nothing": b"", "no gzip": b"\x00\x00\x08\x03" * 99, "cut gzip": mirror.idx(mirror.images(9, (28, 28)))[:-900],
    "cut header": gzip.compress(header(0x803, 1)), "other magic": gzip.compress(header(0x801, 1, 28, 28) + bytes(784)),
    "float": gzip.compress(header(0xD03, 1, 28, 28) + bytes(784)),
    "broken deflate": gzip.compress(bytes(5000))[:12] + b"\xff" * 50,
    "other sides": gzip.compress(header(0x803, 1, 14, 56) + bytes(784)),
    "other size": mirror.idx(mirror.images(9, (28, 27))), "short": gzip.compress(header(0x803, 2, 28, 28) + bytes(784)),
    "long": gzip.compress(header(0x803, 1, 28, 28) + bytes(785)),
    "count": gzip.compress(header(0x803, 0xFFFFFFFF, 28, 28)),
}


@pytest.mark.parametrize("raw", BAD_IDX.values(), ids=BAD_IDX.keys())
def test_a_malformed_idx_file_is_named(tmp_path, raw):
    (tmp_path / "x.gz").write_bytes(raw)
    with pytest.raises(UserError, match=r"^x\.gz: .*"):
        mnist.read_idx(tmp_path / "x.gz", 28, 28)


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(header(0x803, 1, 28, 28) + bytes(100_000_000), 1))
    tracemalloc.start()
    with pytest.raises(UserError, match="there are more"):
        mnist.read_idx(tmp_path / "x.gz", 28, 28)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@settings(max_examples=80, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans(), packed=st.booleans())
def test_a_damaged_idx_file_gives_pixels_or_a_message(tmp_path_factory, at, value, cut, packed):
    raw = bytearray(mirror.idx(mirror.images(3, (28, 28))) if packed else
                    header(0x803, 3, 28, 28) + mirror.images(3, (28, 28)).tobytes())
    position = int(at * len(raw)) if packed else int(at * 16)  # the header of the plain bytes, anywhere in the packed
    raw[position] = value
    raw = bytes(raw[:position] if cut else raw)
    path = tmp_path_factory.getbasetemp() / "damaged.gz"
    path.write_bytes(raw if packed else gzip.compress(raw, 1))
    try:
        outcome = mnist.read_idx(path, 28, 28).shape[1:]
    except UserError as error:
        outcome = str(error)[:12]
    assert outcome in ((28, 28), "damaged.gz: ")


# SVHN


def test_svhn_keeps_order_and_split_and_maps_ten_to_zero(tmp_path):
    mirror.make_svhn(tmp_path)
    assert set(np.unique(scipy.io.loadmat(tmp_path / "train_32x32.mat")["y"])) == set(range(1, 11))
    arrays = svhn.SOURCE.build(tmp_path)
    np.testing.assert_array_equal(arrays.train_image, mirror.images(30, (32, 32, 3), 2))
    np.testing.assert_array_equal(arrays.test_image, mirror.images(20, (32, 32, 3), 3))
    np.testing.assert_array_equal(arrays.train_label, mirror.labels(30))
    np.testing.assert_array_equal(arrays.test_label, mirror.labels(20))
    assert arrays.train_image.flags.c_contiguous


@pytest.mark.parametrize("content", [{"X": np.zeros((32, 32, 3, 4), np.uint8)},
                                     {"X": np.zeros((32, 32, 3, 4)), "y": np.ones((4, 1))},
                                     {"X": np.zeros((4, 32, 32, 3), np.uint8), "y": np.ones((4, 1))},
                                     {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.ones((5, 1))},
                                     {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.zeros((4, 1))},
                                     {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.full((4, 1), 11)},
                                     {"X": "text", "y": "text"}])
def test_a_malformed_mat_file_is_named(tmp_path, content):
    scipy.io.savemat(tmp_path / "x.mat", content)
    with pytest.raises(UserError, match=r"^x\.mat: "):
        svhn.read_mat(tmp_path / "x.mat")


def test_a_damaged_mat_file_is_named(tmp_path):
    mirror.make_svhn(tmp_path)
    whole = (tmp_path / "test_32x32.mat").read_bytes()
    for raw in (b"", whole[:100], whole[:-500], b"MATLAB 7.3" + whole[10:124] + b"\0\2IM" + whole[128:],
                whole[:300] + bytes(100) + whole[400:]):
        (tmp_path / "x.mat").write_bytes(raw)
        with pytest.raises(UserError, match=r"^x\.mat: "):
            svhn.read_mat(tmp_path / "x.mat")


# CIFAR-10


def test_cifar10_is_the_right_way_round():
    """Byte 1 + 1024 * colour + 32 * row + column of a record, as the CIFAR page says."""
    record = np.zeros(3073, np.uint8)
    record[0] = 7
    record[1 + 0 * 1024 + 32 * 2 + 5] = 11  # red of row 2, column 5
    record[1 + 1 * 1024 + 32 * 0 + 31] = 22  # green of the top right corner
    record[1 + 2 * 1024 + 32 * 31 + 0] = 33  # blue of the bottom left corner
    image, label = cifar10.records(record.tobytes())
    assert image.shape == (1, 32, 32, 3)
    assert label.tolist() == [7]
    assert np.argwhere(image).tolist() == [[0, 0, 31, 1], [0, 2, 5, 0], [0, 31, 0, 2]]
    assert (image[0, 2, 5, 0], image[0, 0, 31, 1], image[0, 31, 0, 2]) == (11, 22, 33)


def test_cifar10_keeps_order_and_split(tmp_path):
    mirror.make_cifar10(tmp_path)
    arrays = cifar10.SOURCE.build(tmp_path)
    np.testing.assert_array_equal(
        arrays.train_image, np.concatenate([mirror.images(10, (32, 32, 3), seed) for seed in range(5)]))
    np.testing.assert_array_equal(arrays.test_image, mirror.images(10, (32, 32, 3), 5))
    np.testing.assert_array_equal(arrays.train_label, np.tile(np.arange(10), 5))


def batches(**change):
    members = {name: bytes(3073 * 2) for name in mirror.CIFAR10_MEMBERS} | change
    return [(name, content) for name, content in members.items() if content is not None]


def test_other_members_are_passed_over_and_nothing_is_extracted(tmp_path):
    outside = tmp_path / "outside"
    link = tarfile.TarInfo("cifar-10-batches-bin/link")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    evil = [("../escaped", b"x"), (str(outside), b"x"), (link, b""), ("cifar-10-batches-bin/readme.html", b"x")]
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / cifar10.ARCHIVE).write_bytes(mirror.tar_gz(evil + batches()))
    assert len(cifar10.SOURCE.build(folder).train_image) == 10
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "raw", f"raw/{cifar10.ARCHIVE}"]


def link_member():
    info = tarfile.TarInfo(cifar10.TEST)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return [(info, bytes(3073))]


BAD_TAR = {
    "missing": batches(**{cifar10.TEST: None}),
    "odd size": batches(**{cifar10.TEST: bytes(3072)}),
    "empty": batches(**{cifar10.TEST: b""}),
    "too large": batches(**{cifar10.TEST: bytes(3073 * 10_001)}),
    "twice": batches() + batches()[:1],
    "link": batches(**{cifar10.TEST: None}) + link_member(),
}


@pytest.mark.parametrize("members", BAD_TAR.values(), ids=BAD_TAR.keys())
def test_a_malformed_archive_is_named(tmp_path, members):
    (tmp_path / cifar10.ARCHIVE).write_bytes(mirror.tar_gz(members))
    with pytest.raises(UserError, match=f"^{cifar10.ARCHIVE}: cifar-10-batches-bin/"):
        cifar10.SOURCE.build(tmp_path)


def test_a_damaged_archive_is_named(tmp_path):
    whole = mirror.tar_gz([(name, mirror.images(1, (3073 * 2,), 1).tobytes()) for name in mirror.CIFAR10_MEMBERS])
    for raw in (b"", b"no archive", whole[:1000], whole[:-20000], whole[:5000] + bytes(500) + whole[5500:]):
        (tmp_path / cifar10.ARCHIVE).write_bytes(raw)
        with pytest.raises(UserError, match=f"^{cifar10.ARCHIVE}: "):
            cifar10.SOURCE.build(tmp_path)


# Upstream


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
