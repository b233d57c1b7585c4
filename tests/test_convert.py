"""Files in layouts that are not ours."""
import contextlib
import os
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import UserError
from datasets import convert

RNG = np.random.RandomState(0)
IMAGES = RNG.randint(0, 256, (12, 5, 7, 3)).astype(np.uint8)
IMAGES[0, 0, 0] = 0, 128, 255  # whatever the range, both of its ends are there
LABELS = np.arange(12) % 4


def reference(folder, images=IMAGES, labels=LABELS, name="data.hy", ids=None, classes=4):
    """As SSGAN-Tensorflow writes it: a group per image, a bool one-hot label, id.txt."""
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / name, "w") as file:
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            group = file.create_group(str(i))
            group["image"] = image
            if label is not None:
                group["label"] = np.arange(classes) == label
    (folder / "id.txt").write_text("\n".join(ids or map(str, range(len(images)))) + "\n")
    return folder / name


@pytest.mark.parametrize("name", ["data.hy", "data.hdf5"])
def test_the_reference_layout_in_the_order_of_its_ids(name, tmp_path):
    order = [str(i) for i in (3, 11, 0, 7)]
    found = convert.read(reference(tmp_path, name=name, ids=order))
    rows = [3, 11, 0, 7]
    np.testing.assert_array_equal(found.train.images, IMAGES[rows])
    np.testing.assert_array_equal(found.train.labels, LABELS[rows])
    assert found.test is None
    assert found.classes == 4


def test_images_without_a_label_are_unlabelled(tmp_path):
    labels = [None if i % 3 else int(k) for i, k in enumerate(LABELS)]
    found = convert.read(reference(tmp_path, labels=labels))
    assert found.train.labels.tolist() == [-1 if k is None else k for k in labels]
    assert convert.read(reference(tmp_path, labels=[None] * 12)).classes == 0


FORMS = {"bytes": IMAGES, "ints": IMAGES.astype(np.int32), "floats to 255": IMAGES.astype(np.float32),
         "0 to 1": IMAGES / 255.0, "-1 to 1": (IMAGES / 127.5 - 1).astype(np.float32)}


@pytest.mark.parametrize("form", FORMS)
def test_every_range_gives_the_same_bytes(form, tmp_path):
    np.savez(tmp_path / "a.npz", x=FORMS[form], y=LABELS)
    for found in (convert.read(reference(tmp_path / "h", FORMS[form])), convert.read(tmp_path / "a.npz")):
        np.testing.assert_array_equal(found.train.images, IMAGES)
        assert found.train.images.dtype == np.uint8


def test_npz_of_keras_with_channels_first_and_one_hot(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=IMAGES.transpose(0, 3, 1, 2), y_train=np.eye(4)[LABELS], x_test=IMAGES[:2],
             y_test=LABELS[:2, None])
    found = convert.read(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.train.images, IMAGES)
    np.testing.assert_array_equal(found.train.labels, LABELS)
    np.testing.assert_array_equal(found.test.labels, LABELS[:2])


def test_grey_images_need_no_axis_for_it(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES[..., 0])
    found = convert.read(tmp_path / "a.npz")
    assert found.train.images.shape == (12, 5, 7, 1)
    assert (found.train.labels == -1).all()


def changed(position, value, source=IMAGES / 255.0):
    images = [np.array(image) for image in source]
    images[position] = value
    return images


BAD = {"ragged": (changed(5, np.zeros((4, 7, 3))), LABELS, r"'5' is \[4, 7, 3\], but '0' is \[5, 7, 3\]"),
       "not finite": (changed(4, np.full((5, 7, 3), np.nan)), LABELS, "'4' has values from nan"),
       "too bright": (changed(2, np.full((5, 7, 3), 300.0)), LABELS, "'2' has values from 300 to 300"),
       "of another range": (changed(0, IMAGES[0] / 255.0, 1.0 * IMAGES), LABELS, "'0' has values up to 1, others"),
       "text": (changed(1, np.full((5, 7, 3), b"x")), LABELS, "'1' is .*no image")}


@pytest.mark.parametrize("kind", BAD)
def test_an_unsound_image_is_named(kind, tmp_path):
    images, labels, said = BAD[kind]
    with pytest.raises(UserError, match=f"--from_file .*data.hy: {said}"):
        convert.read(reference(tmp_path, images, labels))


def test_truth_values_are_black_and_white(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES > 127, y=LABELS)
    for found in (convert.read(reference(tmp_path / "h", IMAGES > 127)), convert.read(tmp_path / "a.npz")):
        np.testing.assert_array_equal(found.train.images, np.where(IMAGES > 127, 255, 0))


UNSOUND = {"mixed": ({"x_train": IMAGES / 255.0, "x_test": IMAGES}, "the second holds whole numbers, but the first"),
           "dark test images": ({"x_train": IMAGES, "x_test": IMAGES // 16}, "end at 15, those of the other at 255"),
           "-0.5 to 0.5": ({"x": IMAGES / 255.0 - 0.5}, "neither 0 to 1 nor -1 to 1"),
           "test images without labels": ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "need labels"),
           "test labels alone": ({"x_train": IMAGES, "y_train": LABELS, "y_test": LABELS}, "labels images"),
           "nothing": ({}, r"holds no array \(torch.save writes none\)"),
           "two ranges": ({"x_train": IMAGES / 255.0, "x_test": 1.0 * IMAGES},
                          "end at 1, those of the other at 255"),
           "ranges of two signs": ({"x_train": IMAGES / 127.5 - 1, "x_test": IMAGES / 255.0}, "begin at -1, those of"),
           "a little more than 1": ({"x": np.append(IMAGES / 255.0, IMAGES[:1] / 254.9, 0)}, "a little beyond 0 to 1"),
           "a little less than 0": ({"x": np.append(IMAGES / 255.0, IMAGES[:1] / 255.0 - 1e-4, 0)}, "beyond 0 to 1"),
           "16 for white": ({"x": IMAGES // 16}, "no value is above 15, but white is 255"),
           "16.0 for white": ({"x": IMAGES // 16 * 1.0}, "no value is above 15, but white is 255"),
           "other test images": ({"x": IMAGES, "y": LABELS, "x_test": IMAGES}, "not clear what x_test is for"),
           "validation images": ({"x_train": IMAGES, "x_test": IMAGES, "x_val": IMAGES}, "not clear what x_val is for"),
           "0 and 1": ({"x": IMAGES % 2}, "no whole numbers but 0 and 1"),
           "text labels": ({"x": IMAGES, "y": np.array(["cat"] * 12)}, "labels are <U3"),
           "text images": ({"x": np.full((12, 5, 7, 3), "a")}, "the first array of images is <U1"),
           "a number": ({"x": np.array(3.0)}, r"images \[\]"),
           "far label": ({"x": IMAGES, "y": np.full(12, 50_000_000)}, "label 50000000 of row 0")}


@pytest.mark.parametrize("kind", UNSOUND)
def test_unsound_arrays_are_named(kind, tmp_path):
    arrays, said = UNSOUND[kind]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=f"--from_file .*a.npz: .*{said}"):
        convert.read(tmp_path / "a.npz")


def test_a_header_that_promises_too_much_and_a_pipe_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file, file.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (1 << 45,)})
    for name, shape in (("b", (1 << 70,)), ("c", (True, 2))):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as file, file.open("x.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("a.npz", "b.npz", "c.npz", "pipe.npz"):
        with pytest.raises(UserError, match=f"--from_file .*{name}"):
            convert.read(tmp_path / name)


@pytest.mark.parametrize("what", ["image behind a link", "image in another file", "label is a group", "huge image",
                                  "empty image"])
def test_what_lies_outside_the_file_or_is_no_array_is_not_read(what, tmp_path):
    path = reference(tmp_path)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["image"] = IMAGES[0]
    (tmp_path / "raw").write_bytes(IMAGES[0].tobytes())
    with h5py.File(path, "a") as file:
        del file["6"]["label" if "label" in what else "image"]
        if what == "image behind a link":
            file["6"]["image"] = h5py.ExternalLink("other.h5", "/image")
        elif what == "image in another file":
            file["6"].create_dataset("image", (5, 7, 3), "u1", external=[(str(tmp_path / "raw"), 0, 105)])
        elif what == "empty image":
            file["6"]["image"] = h5py.Empty("u1")
        elif what == "label is a group":
            file["6"].create_group("label")
        else:
            file["6"].create_dataset("image", (1 << 20, 1 << 14, 3), "u1", chunks=(64, 64, 3))
    with pytest.raises(UserError, match=r"--from_file .*data\.hy: .*'6' is"):
        convert.read(path)


def test_ids_that_are_no_text_are_refused(tmp_path):
    path = reference(tmp_path)
    (tmp_path / "id.txt").write_bytes(b"\xff0\n")
    with pytest.raises(UserError, match=r"id\.txt: no text in UTF-8"):
        convert.read(path)


@pytest.mark.parametrize("label", [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0.5, 0, 0], [0, 1, 0]])
def test_a_label_that_is_no_one_hot_is_named(label, tmp_path):
    path = reference(tmp_path)
    with h5py.File(path, "a") as file:
        del file["6"]["label"]
        file["6"]["label"] = np.array(label)
    with pytest.raises(UserError, match="the label of '6'"):
        convert.read(path)


def test_a_missing_id_is_named_with_its_line(tmp_path):
    with pytest.raises(UserError, match=r"id\.txt, line 3: data\.hy has no group '99'"):
        convert.read(reference(tmp_path, ids=["0", "1", "99"]))
    with pytest.raises(UserError, match="names '1' twice"):
        convert.read(reference(tmp_path, ids=["0", "1", "1"]))
    (tmp_path / "id.txt").unlink()
    with pytest.raises(UserError, match=r"no id\.txt beside it"):
        convert.read(tmp_path / "data.hy")


def test_python_objects_are_never_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.savez(tmp_path / "a.npz", x=np.array([Trap()], object))
    with pytest.raises(UserError, match=r"a\.npz"):
        convert.read(tmp_path / "a.npz")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    np.savez(folder / "a.npz", x=IMAGES, y=LABELS)
    return {"a.npz": (folder / "a.npz").read_bytes(), "data.hy": reference(folder).read_bytes()}


@pytest.mark.parametrize("name", ["a.npz", "data.hy"])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_are_refused_or_harmless(name, data, sound, tmp_path_factory):
    content = bytearray(sound[name])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[:data.draw(st.integers(0, len(content)))]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / name).write_bytes(content)
    (folder / "id.txt").write_text("\n".join(map(str, range(12))))
    with contextlib.suppress(UserError):
        found = convert.read(folder / name)
        assert found.train.images.dtype == np.uint8
        assert len(found.train.images) == len(found.train.labels)
