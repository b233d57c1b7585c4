import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import Spec, UserError
from datasets import h5
from tests.mirror import mounted

NAMES = ("cat", "dög", "cow")


def toy(train=6, test=4):
    rng = np.random.default_rng(0)
    return h5.Arrays(rng.integers(0, 256, (train, 5, 4, 3), dtype=np.uint8), np.arange(train) % 4 - 1,
                     rng.integers(0, 256, (test, 5, 4, 3), dtype=np.uint8), np.arange(test) % 3)


@pytest.fixture
def file(tmp_path):
    h5.write(tmp_path / "toy" / "data.h5", toy(), "Toy", NAMES, "made up")
    return tmp_path / "toy" / "data.h5"


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path) as folder:
        yield folder


def refused(call, *args):
    """The message of the UserError, which must be one or two lines."""
    with pytest.raises(UserError) as caught:
        call(*args)
    message = str(caught.value)
    assert 1 <= len(message.splitlines()) <= 2
    return message


def test_what_is_written_is_read(file):
    data = h5.read(file)
    for array, expected in zip(data.arrays, toy(), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
    assert data[0] == h5.read_spec(file) == Spec("Toy", (5, 4, 3), 3)
    assert data.class_names == NAMES
    assert data.source == "made up"
    assert data.digest == h5.digests(toy())[1]
    assert [path.name for path in file.parent.iterdir()] == ["data.h5"]


def test_nothing_is_written_beside_the_file(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    h5.write(tmp_path / "data.h5", toy(), "Toy", NAMES, "")
    assert list((tmp_path / "here").iterdir()) == []


def test_one_contiguous_array_per_part(file):
    with h5py.File(file) as content:
        for part in h5.PARTS:
            assert content[part].chunks is None
            assert content[part].compression is None
        assert sorted(content.attrs) == ["class_names", "digest", "format", "lasting", "name", "resize", "rest",
                                         "source"]


def test_digest_tells_pixels_labels_and_shapes_apart():
    one = toy()
    last = np.zeros_like(one.train_image)
    last[-1, -1, -1, -1] = 1
    others = [one._replace(train_image=one.train_image ^ last),
              one._replace(train_image=one.train_image.view(np.int8)),
              one._replace(train_label=one.train_label[::-1]),
              one._replace(test_image=one.test_image.reshape(4, 4, 5, 3)),
              one._replace(test_label=one.test_label.astype(np.int32))]
    assert len({h5.digests(arrays)[0] for arrays in [one, *others]}) == 6
    assert h5.digests(one._replace(train_image=np.asfortranarray(one.train_image))) == h5.digests(one)


def test_the_digest_of_a_data_set_is_that_of_all_but_the_training_labels(file):
    first, budgets = h5.read(file), (math.inf, 0)
    h5.write(file, toy()._replace(train_label=np.full(6, -1)), "Toy", NAMES, "")
    assert [h5.read(file, budget).digest for budget in budgets] == [first.digest] * 2
    with h5py.File(file, "r+") as content:
        del content.attrs["lasting"]  # as in files from before there was this digest
    assert [h5.read(file, budget).digest for budget in budgets] == [first.digest] * 2
    for part in ("train_image", "test_image", "test_label"):
        other = toy()._replace(**{part: getattr(toy(), part)[::-1]})
        assert h5.write(file, other, "Toy", NAMES, "").digest != first.digest


@pytest.mark.parametrize("budget", [math.inf, 0])
@pytest.mark.parametrize("part", h5.PARTS[1:])
def test_changed_labels_and_test_images_are_noticed_also_where_the_images_are_mapped(file, part, budget):
    with h5py.File(file, "r+") as content:
        content[part][0] = (content[part][0] + 1) % 3
    with pytest.raises(UserError, match="damaged: the digest"):
        h5.read(file, budget)


def image(values):
    return np.zeros(values, np.uint8)


BAD = {
    "float pixels": ({"train_image": np.zeros((6, 5, 4, 3))}, "train/image is float64"),
    "no channel axis": ({"test_image": image((4, 5, 4))}, "test/image is uint8"),
    "short labels": ({"train_label": np.zeros(5, int)}, "6 images, but 5 labels"),
    "int32 labels": ({"test_label": np.zeros(4, np.int32)}, "test/label is int32"),
    "one-hot labels": ({"test_label": np.zeros((4, 3), int)}, "test/label is int64"),
    "label too large": ({"train_label": np.full(6, 3)}, "train/label from 3 to 3"),
    "label below -1": ({"train_label": np.full(6, -2)}, "train/label from -2"),
    "unlabelled test": ({"test_label": np.full(4, -1)}, "test/label from -1"),
    "no images": ({"train_image": image((0, 5, 4, 3)), "train_label": np.zeros(0, int)}, "not empty"),
    "no pixels": ({"train_image": image((6, 0, 4, 3)), "test_image": image((4, 0, 4, 3))}, "not empty"),
    "other test shape": ({"test_image": image((4, 5, 4, 1))}, "but test images"),
}


@pytest.mark.parametrize(("change", "found"), BAD.values(), ids=BAD.keys())
def test_unsound_arrays_are_neither_written_nor_read(tmp_path, file, change, found):
    message = refused(h5.write, tmp_path / "bad.h5", toy()._replace(**change), "Toy", NAMES, "")
    assert found in message
    assert "bad.h5" in message
    assert not (tmp_path / "bad.h5").exists()
    with h5py.File(file, "r+") as content:
        for field, array in change.items():
            part = field.replace("_", "/")
            del content[part]
            content[part] = array
        content.attrs["digest"] = np.bytes_(h5.digests(toy()._replace(**change))[0].encode())
    message = refused(h5.read, file)
    assert found in message
    assert str(file) in message


@pytest.mark.parametrize("arrays", [toy()._asdict(), toy()[:3], None], ids=["dict", "three", "none"])
def test_what_is_no_record_of_four_arrays_is_named(tmp_path, arrays):
    message = refused(h5.write, tmp_path / "bad.h5", arrays, "Toy", NAMES, "")
    assert f"bad.h5: not written: {type(arrays).__name__} in place of" in message
    assert "h5.Arrays(train_image, train_label, test_image, test_label)" in message
    assert h5.write(tmp_path / "good.h5", tuple(toy()), "Toy", NAMES, "").digest == h5.digests(toy())[1]


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a\\b", ".", "..", "-x", "a\nb"])
def test_a_name_cannot_lead_to_another_folder(tmp_path, name):
    assert "name" in refused(h5.write, tmp_path / "bad.h5", toy(), name, NAMES, "")


def bare(arrays):
    return arrays._replace(train_label=np.full(len(arrays.train_label), -1),
                           test_label=np.full(len(arrays.test_label), -1))


def test_a_file_without_labels(file):
    written = h5.write(file, bare(toy()), "Bare", (), "")
    data = h5.read(file)
    assert data.spec == h5.read_spec(file) == Spec("Bare", (5, 4, 3), 0)
    assert (data.class_names, data.digest) == ((), written.digest)
    for array, expected in zip(data.arrays, bare(toy()), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(("change", "names", "found"), [
    ({"train_label": np.arange(6) % 4 - 1}, (), "train/label from -1 to 2, but it must be -1 everywhere"),
    ({"test_label": np.zeros(4, int)}, (), "test/label from 0 to 0, but it must be -1 everywhere"),
    ({}, NAMES, "test/label from -1 to -1, but it must be from 0 to 2")])
def test_no_class_names_means_no_labels(tmp_path, change, names, found):
    assert found in refused(h5.write, tmp_path / "bad.h5", bare(toy())._replace(**change), "Toy", names, "")


def test_labels_can_be_left_out(file):
    data = h5.read(file)
    left = data.without_labels()
    assert (left.spec.classes, left.class_names, left.digest) == (0, (), data.digest)
    assert left.arrays.train_image is data.arrays.train_image
    for array, expected in zip(left.arrays, bare(toy()), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype


@pytest.mark.parametrize("names", [("a", "a", "b"), ("a", "", "b"), (1, 2, 3)])
def test_class_names_are_different_texts(tmp_path, names):
    assert "class names" in refused(h5.write, tmp_path / "bad.h5", toy(), "Toy", names, "")


@pytest.mark.parametrize("reader", [h5.read, h5.read_spec])
def test_a_file_that_is_no_data_set(tmp_path, file, reader):
    assert "not there" in refused(reader, tmp_path / "none.h5")
    assert "a folder" in refused(reader, tmp_path)
    (tmp_path / "text.h5").write_text("not HDF5 " * 100)
    assert "not a whole HDF5 file" in refused(reader, tmp_path / "text.h5")
    (tmp_path / "empty.h5").touch()
    assert "not a whole HDF5 file" in refused(reader, tmp_path / "empty.h5")
    h5py.File(tmp_path / "other.h5", "w").close()
    assert "no attribute 'format'" in refused(reader, tmp_path / "other.h5")
    for format_ in (2, "1", [1, 1]):
        with h5py.File(file, "r+") as content:
            content.attrs["format"] = format_
        assert "reads format 1" in refused(reader, file)


@pytest.mark.parametrize("part", h5.PARTS)
def test_a_missing_array_is_named(file, part):
    with h5py.File(file, "r+") as content:
        del content[part]
        content.create_group(part)
    assert f"without {part}" in refused(h5.read, file)


@pytest.mark.parametrize("attribute", ["name", "class_names", "source", "digest"])
def test_a_missing_attribute_is_named(file, attribute):
    with h5py.File(file, "r+") as content:
        del content.attrs[attribute]
    assert f"without {attribute}" in refused(h5.read_spec, file)


def test_a_compressed_or_unwritten_array_is_refused(file):
    for options in ({"data": toy().train_image, "compression": "gzip"}, {"shape": (6, 5, 4, 3), "dtype": "u1"},
                    {"shape": (1 << 40, 5, 4, 3), "dtype": "u1"}):
        with h5py.File(file, "r+") as content:
            del content["train/image"]
            content.create_dataset("train/image", **options)
        message = refused(h5.read, file)
        assert "train/image is compressed or not all there" in message or "labels" in message


def test_a_text_of_variable_length_is_refused(file):
    """HDF5 would take seconds and gigabytes if the length of one were damaged."""
    with h5py.File(file, "r+") as content:
        content.attrs["name"] = "Toy"
    assert "'name' is not a text of fixed length" in refused(h5.read, file)


def test_the_longest_texts(tmp_path):
    names = tuple(f"{i:053}" for i in range(1000))
    data = h5.write(tmp_path / "data.h5", toy(), "Toy", names, "ö" * 30_000)
    assert h5.read(tmp_path / "data.h5")[2:] == data[2:]
    assert "class names" in refused(h5.write, tmp_path / "bad.h5", toy(), "Toy", (*names, "0" * 9000), "")
    assert "the source has 60001" in refused(h5.write, tmp_path / "bad.h5", toy(), "Toy", names, "ö" * 30_000 + "o")


def test_every_truncation_is_noticed(tmp_path, file):
    whole = file.read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / "cut.h5").write_bytes(whole[:length])
        assert "cut.h5" in refused(h5.read, tmp_path / "cut.h5")


def test_one_flipped_bit_in_the_pixels_is_noticed(file):
    with h5py.File(file) as content:
        offset = content["test/image"].id.get_offset()
    raw = bytearray(file.read_bytes())
    raw[offset + 7] ^= 4
    file.write_bytes(raw)
    assert "digest" in refused(h5.read, file)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes_give_the_same_data_or_a_message(tmp_path_factory, damage):
    path = tmp_path_factory.getbasetemp() / "damaged.h5"
    h5.write(path, toy(), "Toy", NAMES, "made up")
    raw = bytearray(path.read_bytes())
    for where, value in damage:
        raw[int(where * len(raw))] = value
    path.write_bytes(raw)
    try:
        found = h5.digests(h5.read(path).arrays)[0]
    except UserError as error:
        found = len(str(error).splitlines())
    assert found in (1, 2, h5.digests(toy())[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_file_that_may_not_be_read(file):
    file.chmod(0)
    os.seteuid(65534)
    try:
        message = refused(h5.read, file)
    finally:
        os.seteuid(0)
    assert "Permission denied" in message


def test_a_failed_write_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    assert "Input/output error" in refused(h5.write, file, toy(train=60), "Toy", NAMES, "")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["data.h5"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        h5.write(tmp_path / "data.h5", toy(), "Toy", NAMES, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("free", [0, 1, 3, 6, 12])
def test_a_full_disk_leaves_nothing(small_disk, free):
    """Wherever the space ends, in pixels or in HDF5's own bytes: a message, not a crash, and no file."""
    (small_disk / "filling").write_bytes(bytes((64 - free) * 4096))
    assert "No space left on device" in refused(h5.write, small_disk / "data.h5", toy(train=1000), "Toy", NAMES, "")
    assert [path.name for path in small_disk.iterdir()] == ["filling"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    assert "not written" in refused(h5.write, tmp_path / "file" / "toy" / "data.h5", toy(), "Toy", NAMES, "")


def test_the_size_of_cifar10_is_read_in_about_a_second(tmp_path):
    h5.write(tmp_path / "big.h5", toy(train=3_000_000), "Toy", NAMES, "")  # 180 MB
    start = time.perf_counter()
    h5.read(tmp_path / "big.h5")
    assert time.perf_counter() - start < 3  # 0.3 s on an idle machine
    start = time.perf_counter()
    h5.read_spec(tmp_path / "big.h5")
    assert time.perf_counter() - start < 0.3


def test_importing_the_registry_is_cheap():
    code = "import datasets, sys; print([m for m in ('torch', 'torchvision', 'sklearn', 'scipy') if m in sys.modules])"
    root = Path(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout == "[]\n"


def test_an_interrupt_while_the_file_is_laid_out_is_not_lost(tmp_path, monkeypatch):
    write = h5._Writes.write

    def interrupted(self, content):
        monkeypatch.setattr(h5._Writes, "write", write)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        return write(self, content)

    monkeypatch.setattr(h5._Writes, "write", interrupted)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            h5.write(tmp_path / "data.h5", toy(), "toy", NAMES, "")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert not list(tmp_path.iterdir())
