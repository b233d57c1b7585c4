"""Files of the user's own, in layouts that are not ours, to arrays: .npz, and the HDF5 layout of SSGAN-Tensorflow.

Images may be bytes, whole numbers or floats from 0 to 255, or floats from 0 to 1 or from -1 to 1, or truth values;
which of these a file holds is seen from all of its values. Nothing is guessed of a file that fits none, or mixes them:
it is refused, by the name of the image. Nor is an array left out in silence, or a training image kept that is also a
test image.
"""
import hashlib
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from tqdm import tqdm

from config import UserError, brief
from datasets import h5, splits

CHANNELS = (1, 2, 3, 4)
MOST_CLASSES = 100_000
MOST_VALUES = 10**8  # of an image or a label
KINDS = {"u": "whole numbers", "i": "whole numbers", "f": "floats", "b": "truth values"}
DARK = 64  # whole values of which none reaches this are of another scale than 0 to 255
# Names of the arrays of an .npz: ours, those of Keras, and one part that has to be divided.
PARTS = ((("train/image", "train_image", "x_train"), ("train/label", "train_label", "y_train"),
          ("test/image", "test_image", "x_test"), ("test/label", "test_label", "y_test")),
         (("image", "images", "x", "X"), ("label", "labels", "y", "Y"), (), ()))


class Part(NamedTuple):
    """Images and what is known of them."""

    images: np.ndarray  # uint8 [N, H, W, C]
    labels: np.ndarray  # int64 [N], -1 where there is none


def divided(whole: Part, share: float, seed: int) -> tuple[Part, Part, str]:
    """The training and the test part of images that are not divided yet, and how that was done, in words."""
    train, test = (Part(whole.images[rows], whole.labels[rows]) for rows in splits.hold_out(whole.labels, share, seed))
    if not len(test.images):
        raise UserError("--test_share: no class has two images, of which one could be held out; add more, or give test "
                        "images")
    return train, test, f"{share:.4g} of each class held out as test images, seed {seed}"


def apart(train: Part, test: Part, what: str) -> tuple[Part, int]:
    """The training images that are no test images, and how many were taken out. UserError if none is left."""
    tested = {image.tobytes() for image in test.images}
    kept = np.array([image.tobytes() not in tested for image in train.images])
    if not kept.any():
        raise UserError(f"{what}: each training image is also a test image; give others")
    return Part(train.images[kept], train.labels[kept]), int((~kept).sum())


def doubtful(train: Part) -> int:
    """How many images are there once more, earlier, under another class."""
    first: dict[bytes, int] = {}
    return sum(label >= 0 and first.setdefault(hashlib.sha256(image.tobytes()).digest(), label) != label
               for image, label in zip(train.images, train.labels.tolist(), strict=True))


def trained_classes(train: Part, test: Part, what: str) -> tuple[Part, Part, np.ndarray]:
    """Both parts with the classes of which there is a training image numbered from 0, and their former numbers.
    UserError for one class alone, or where another class has a test image."""
    known = np.unique(train.labels[train.labels >= 0])
    if len(known) == 1:
        raise UserError(f"{what}: one class ({known[0]}) was found, but a classifier needs two; label -1 says that an "
                        "image has none")
    if odd := np.setdiff1d(test.labels[test.labels >= 0], known).tolist():
        raise UserError(f"{what}: class {odd[0]} has test images, but no training image; add some, or take those out")
    return *(Part(part.images, np.where(part.labels < 0, -1, np.searchsorted(known, part.labels)))
             for part in (train, test)), known


class Found(NamedTuple):
    """What a file holds; `test` is None where it does not say which images are test images."""

    train: Part
    test: Part | None
    classes: int


def read(path: Path) -> Found:
    """The images and labels of a file. UserError if it is none of the layouts, or an image or a label is unsound."""
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"--from_file {path}: not there, or no plain file; name an .npz or HDF5 file")
    try:
        if zipfile.is_zipfile(path):
            return _npz(path)
        if h5py.is_hdf5(path):
            return _groups(path)
    except OSError as error:
        raise UserError(f"--from_file {path}: {error.strerror or error}") from None
    raise UserError(f"--from_file {path}: no whole .npz or HDF5 file; numpy.savez(FILE, x=images, y=labels) writes one")


def _npz(path: Path) -> Found:
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: array for name in file.files if isinstance(array := file[name], np.ndarray)}
    # ValueError: an array of Python objects; RuntimeError: encrypted; MemoryError, OverflowError: a header that
    # promises too much; IndexError, TypeError: one that describes no array.
    except (ValueError, EOFError, RuntimeError, MemoryError, OverflowError, IndexError, TypeError, zipfile.BadZipFile,
            zlib.error) as error:
        reason = "an array of it holds Python objects; store numbers" if "allow_pickle" in str(error) else brief(error)
        raise UserError(f"--from_file {path}: {reason}") from None
    for names in PARTS:
        found = [next((held[name] for name in known if name in held), None) for known in names]
        if found[0] is not None:
            break
    else:
        raise UserError(f"--from_file {path}: holds {', '.join(held) or 'no array (torch.save writes none)'}; name its "
                        "arrays x_train, y_train, x_test and y_test, or x and y, for numpy.savez")
    if found[1] is not None and (found[2] is None) != (found[3] is None):
        raise UserError(f"--from_file {path}: test images need labels, and labels images; give both of them, or none: "
                        "--test_share of the training images is then held out")
    used = {id(array) for array in found}
    if unused := [name for name, array in held.items() if id(array) not in used and array.dtype.kind in KINDS]:
        raise UserError(f"--from_file {path}: it is not clear what {', '.join(unused)} is for; name the arrays "
                        "x_train, y_train, x_test and y_test (label -1: unlabelled), and leave out others")
    images = [_channels_last(array, path) for array in (found[0], found[2]) if array is not None]
    scale = Scale(path)
    named = zip(("the first array of images", "the second"), images, strict=False)
    lows, highs = zip(*(scale.see(*pair) for pair in named), strict=True)
    for end, values, differ in (("begin", lows, min(lows) < 0 <= max(lows)),
                                ("end", highs, min(highs) < DARK <= max(highs))):
        if differ:
            raise UserError(f"--from_file {path}: the values of one array of images {end} at {min(values):g}, those of "
                            f"the other at {max(values):g}; store both alike")
    labels = [_labels(array, len(beside), path) for array, beside in zip(found[1::2], found[::2], strict=True)
              if beside is not None]
    parts = [Part(scale.bytes(array), label) for array, label in zip(images, labels, strict=True)]
    return Found(parts[0], parts[1] if len(parts) == 2 else None, 1 + max(int(label.max()) for label in labels))


def _channels_last(images: np.ndarray, path: Path) -> np.ndarray:
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[3] not in CHANNELS and images.shape[1] in CHANNELS:
        images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or images.shape[3] not in CHANNELS:
        raise UserError(f"--from_file {path}: images {list(images.shape)}; they must be [N, H, W], [N, H, W, C] or "
                        "[N, C, H, W] with 1 to 4 channels")
    return images


def _labels(labels: np.ndarray | None, count: int, path: Path) -> np.ndarray:
    if labels is None:
        return np.full(count, -1)
    if labels.dtype.kind not in KINDS:
        raise UserError(f"--from_file {path}: labels are {labels.dtype}; they must be whole numbers from 0 up, or -1 "
                        "for none")
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = np.array([one_hot(row, f"row {i}", path) for i, row in enumerate(labels)])
    labels = labels.reshape(-1)
    if len(labels) != count:
        raise UserError(f"--from_file {path}: {count} images, but {len(labels)} labels")
    whole = np.asarray(labels, np.float64)
    if bad := np.flatnonzero((whole < -1) | (whole != np.floor(whole)) | (whole >= MOST_CLASSES)).tolist():
        raise UserError(f"--from_file {path}: label {labels[bad[0]]} of row {bad[0]}; labels are whole numbers from 0 "
                        f"to {MOST_CLASSES - 1}, or -1 for none")
    return whole.astype(np.int64)


def one_hot(label: np.ndarray, name: str, path: Path) -> int:
    """The class of a one-hot vector; UserError if it is none."""
    hot = np.flatnonzero(label)
    if len(hot) != 1 or label[hot[0]] != 1:
        raise UserError(f"--from_file {path}: the label of {name} is no one-hot vector "
                        f"({np.asarray(label).tolist()!s:.60})")
    return int(hot[0])


class Scale:
    """Which range of values stands for black to white, from all the values of a file."""

    def __init__(self, path: Path):
        self.path, self.low, self.high, self.kind, self.first, self.small = path, np.inf, -np.inf, "", "", ""

    def see(self, name: str, image: np.ndarray) -> tuple[float, float]:
        """Take an image's values into account; the lowest and the highest of them. UserError if they can be no
        pixels."""
        kind = KINDS.get(image.dtype.kind)
        if not kind or not image.size:
            raise UserError(f"--from_file {self.path}: {name} is {image.dtype} {list(image.shape)}, no image")
        self.kind, self.first = self.kind or kind, self.first or name
        if kind != self.kind:
            raise UserError(f"--from_file {self.path}: {name} holds {kind}, but {self.first} {self.kind}; store all "
                            "images alike")
        low, high = float(image.min()), float(image.max())
        if not (low >= -1 and high <= 255):  # NaN is in no range
            raise UserError(f"--from_file {self.path}: {name} has values from {low:g} to {high:g}; pixels are from 0 "
                            "to 255, from 0 to 1 or from -1 to 1")
        self.low, self.high = min(self.low, low), max(self.high, high)
        if high <= 1 and kind == KINDS["f"] and (image % 1).any():
            self.small = name
        return low, high

    def bytes(self, images: np.ndarray) -> np.ndarray:
        """The same images as uint8."""
        whole = self.kind == "whole numbers"
        if whole and 0 <= self.low <= self.high <= 1:
            raise UserError(f"--from_file {self.path}: its images hold no whole numbers but 0 and 1, but white is 255; "
                            "store truth values, or multiply them by 255")
        if 2 <= self.high < DARK:
            raise UserError(f"--from_file {self.path}: no value is above {self.high:g}, but white is 255; if "
                            f"{self.high:g} is white, multiply them by {255 / self.high:g}")
        if images.dtype == np.uint8:
            return np.ascontiguousarray(images)
        if self.low < 0 and (self.high > 1 or whole):
            raise UserError(f"--from_file {self.path}: values from {self.low:g} to {self.high:g}; pixels are from 0 to "
                            "255, from 0 to 1 or from -1 to 1")
        if -0.75 < self.low < 0 or 1 < self.high < 2:
            raise UserError(f"--from_file {self.path}: values from {self.low:g} to {self.high:g} are neither 0 to 1 "
                            "nor -1 to 1; scale them, or cut off what is a little beyond 0 to 1")
        if self.small and self.high > 1:
            raise UserError(f"--from_file {self.path}: {self.small} has values up to 1, others up to {self.high:g}; "
                            "store all images alike")
        factor, offset = (127.5, 127.5) if self.low < 0 else (255, 0) if self.high <= 1 else (1, 0)
        return (images * np.float32(factor) + np.float32(offset)).round().astype(np.uint8)


def _groups(path: Path) -> Found:
    """The layout of SSGAN-Tensorflow: one group per image, named by its id, with `image` and, where it is known, a
    one-hot `label`; the ids in their order in id.txt beside it."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            ids = _ids(path, file)
            return _gathered(path, [(name, *_entry(path, file, name)) for name in tqdm(ids, path.name, unit="image")])
    except (RuntimeError, KeyError, OSError, MemoryError) as error:  # on damaged bytes
        raise UserError(f"--from_file {path}: not a whole HDF5 file ({brief(error)})") from None


def _ids(path: Path, file: h5py.File) -> list[str]:
    listed = path.with_name("id.txt")
    if not listed.is_file():
        raise UserError(f"--from_file {path}: there is no id.txt beside it; it names the group of each image, one a "
                        "line")
    try:
        ids = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UserError(f"{listed}: no text in UTF-8") from None
    if not ids:
        raise UserError(f"{listed}: names no image")
    held = set(file)
    for number, name in enumerate(ids, 1):
        if name not in held:
            raise UserError(f"{listed}, line {number}: {path.name} has no group {name!r}; take the line out, or write "
                            "the file again")
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(f"{listed}: names {twice!r} twice")
    return ids


def _entry(path: Path, file: h5py.File, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    image = _array(path, file, f"{name}/image", f"{name!r} is no group with an image in it")
    label = _array(path, file, f"{name}/label", f"the label of {name!r} is no one-hot vector") if (
        f"{name}/label" in file) else None
    return image, label


def _array(path: Path, file: h5py.File, name: str, otherwise: str) -> np.ndarray:
    found = file[name] if h5.inside(file, name) else None
    if found is None or found.dtype.kind not in KINDS or found.shape is None or found.size > MOST_VALUES:
        raise UserError(f"--from_file {path}: {otherwise}{'' if found is None else f': {found} is no image or label'}")
    return np.atleast_1d(found[()])


def _gathered(path: Path, entries: Iterable[tuple[str, np.ndarray, np.ndarray | None]]) -> Found:
    entries = list(entries)
    scale, (first, shape, length) = Scale(path), (entries[0][0], entries[0][1].shape, None)
    labels = []
    for name, image, label in entries:
        if image.shape != shape or not 2 <= image.ndim <= 3:
            raise UserError(f"--from_file {path}: {name!r} is {list(image.shape)}, but {first!r} is {list(shape)}; "
                            "images must be of one size, [H, W] or [H, W, C]")
        scale.see(repr(name), image)
        if label is not None:
            if length not in (None, len(label)):
                raise UserError(f"--from_file {path}: the label of {name!r} has {len(label)} entries, those before it "
                                f"{length}")
            length = len(label)
        labels.append(-1 if label is None else one_hot(label, repr(name), path))
    images = np.stack([image for _, image, _ in entries])
    return Found(Part(scale.bytes(_channels_last(images, path)), np.array(labels, np.int64)), None, length or 0)
