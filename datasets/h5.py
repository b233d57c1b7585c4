"""The format of data.h5: one contiguous array per split and kind, written whole or not at all.

train/image, test/image: uint8 [N, H, W, C]; train/label, test/label: int64 [N], -1 = unlabelled (in test only where
there are no classes, and so no labels at all).
Attributes: format (a number); name, class_names (JSON), source, digest, lasting and rest (texts; the last three are
digests, `lasting` of all but the training labels, `rest` of all but the training images); resize, where pictures were
brought to one size: how (a text).
"""
import contextlib
import hashlib
import io
import json
import math
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from config import Spec, UserError, brief
from datasets import files

FORMAT = 1
PARTS = ("train/image", "train/label", "test/image", "test/label")
NAME = r"\w[\w.-]*"  # of a data set: it becomes part of folder names
BLOCK = 4 << 20  # bytes of an array that are hashed or written at a time
LONGEST = 60_000  # bytes of a text; HDF5 holds an attribute in at most 64 KiB
REMEDY = "delete it, then make it again as it was made: with download.py, or datasets.h5.write for arrays of your own"


class Arrays(NamedTuple):
    """A data set's pixels and labels; label -1 means unlabelled."""

    train_image: np.ndarray  # uint8 [N, H, W, C]
    train_label: np.ndarray  # int64 [N]
    test_image: np.ndarray
    test_label: np.ndarray


class Data(NamedTuple):
    """A data set in memory; the training images of a large one are a numpy.memmap of its file."""

    spec: Spec
    arrays: Arrays
    class_names: tuple[str, ...]
    source: str
    digest: str  # of all but the training labels
    resize: str = "stretch"  # how pictures come to this size: a photo.Resize

    def with_labels(self, class_names: tuple[str, ...], rows: np.ndarray, labels: np.ndarray) -> "Data":
        """The same images with these classes, the training images `rows` with these labels and no others; the digest
        stays that of the file."""
        known = np.full(len(self.arrays.train_label), -1)
        known[rows] = labels
        return self._replace(spec=self.spec._replace(classes=len(class_names)), class_names=class_names,
                             arrays=self.arrays._replace(train_label=known))

    def without_labels(self) -> "Data":
        """The same images with no classes, every label -1; the digest stays that of the file."""
        hidden = (np.full(len(label), -1) for label in (self.arrays.train_label, self.arrays.test_label))
        arrays = self.arrays._replace(**dict(zip(("train_label", "test_label"), hidden, strict=True)))
        return self._replace(spec=self.spec._replace(classes=0), arrays=arrays, class_names=())


def digests(arrays: Arrays) -> tuple[str, str]:
    """sha256 in hex over name, type, shape and bytes of the four arrays, and over those that stay when labels are added
    or corrected: all but the training labels."""
    images, *others = zip(PARTS, arrays, strict=True)
    whole = hashlib.sha256()
    _hash(*images, whole)
    lasting = whole.copy()  # the training images, by far the largest part, are hashed once
    for part, array in others:
        _hash(part, array, whole)
        if part != "train/label":
            _hash(part, array, lasting)
    return whole.hexdigest(), lasting.hexdigest()


def _rest(arrays: Arrays) -> str:
    """sha256 in hex of all but the training images."""
    sha = hashlib.sha256()
    for part, array in zip(PARTS[1:], arrays[1:], strict=True):
        _hash(part, array, sha)
    return sha.hexdigest()


def _hash(part: str, array: np.ndarray, sha: Any) -> None:
    sha.update(f"{part} {array.dtype.name} {tuple(array.shape)}".encode())
    for block in _blocks(array):
        sha.update(block)


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of an array, some megabytes at a time. What was read of a mapped file is given back, so that a set of
    any size passes through little memory."""
    rows = max(1, BLOCK // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start:start + rows])
        if isinstance(array, np.memmap) and array.mode == "r" and hasattr(mmap.mmap, "madvise"):
            array._mmap.madvise(mmap.MADV_DONTNEED)


def pack(arrays: Arrays, name: str, class_names: Sequence[str], source: str, resize: str = "stretch") -> Data:
    """Checked arrays with their description; UserError says what is wrong with them."""
    return _packed(arrays, name, class_names, source, resize)[0]


def _packed(arrays: Arrays, name: str, class_names: Sequence[str], source: str, resize: str) -> tuple[Data, str]:
    """What `pack` returns, and the digest of all four arrays."""
    if not isinstance(arrays, Sequence) or len(arrays) != len(PARTS):
        raise UserError(f"{type(arrays).__name__} in place of h5.Arrays({', '.join(Arrays._fields)})")
    arrays = Arrays(*(array if isinstance(array, np.memmap) else np.asarray(array) for array in arrays))
    class_names = tuple(class_names)
    spec = _spec(arrays, name, class_names)
    _check_labels(arrays, spec.classes)
    if len(source.encode()) > LONGEST:
        raise UserError(f"the source has {len(source.encode())} bytes, but {LONGEST} at most are stored")
    whole, lasting = digests(arrays)
    return Data(spec, arrays, class_names, source, lasting, resize), whole


def write(path: Path, arrays: Arrays, name: str, class_names: Sequence[str], source: str,
          resize: str = "stretch") -> Data:
    """Write `path` in one stroke and return its content; UserError if the arrays or the disk do not allow it. Arrays
    may be a numpy.memmap of mode "r": they are never in memory as a whole."""
    path = Path(path)
    try:
        data, digest = _packed(arrays, name, class_names, source, resize)
    except UserError as error:
        raise UserError(f"{path}: not written: {error}") from None
    with ThreadPoolExecutor(1) as pool:  # an interrupt, which comes to the main thread, would be lost in HDF5
        frame = pool.submit(_frame, data, digest).result()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(path) as new, new.open("wb") as file:
            for offset, content in frame:
                file.seek(offset)
                for block in [content] if isinstance(content, bytes) else _blocks(content):
                    file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path}: not written: {error.strerror}; free some space or choose another folder") from None
    return data


def read(path: Path, budget: float = math.inf) -> Data:
    """The data set in `path`, every value checked; UserError if the file is not whole and sound. Training images of
    more than `budget` bytes are left in the file, mapped into memory and not checked by a digest; all else is."""
    with _opened(path) as file:
        spec, class_names = _header(file)
        mapped = file["train/image"].nbytes > budget
        first = _mapped(path, file["train/image"]) if mapped else file["train/image"][()]
        arrays = Arrays(first, *(file[part][()] for part in PARTS[1:]))
        source, stored = _text(file, "source"), _text(file, "digest")
        resize = _text(file, "resize") if "resize" in file.attrs else "stretch"
        _check_labels(arrays, spec.classes)
        if mapped and "rest" in file.attrs and _text(file, "rest") != _rest(arrays):
            raise UserError("damaged: the digest of its labels and test images is not the one stored with them")
        if mapped and "lasting" in file.attrs:
            return Data(spec, arrays, class_names, source, _text(file, "lasting"), resize)
        # A file of before there was this attribute has the digest taken now, however large it is.
        whole, lasting = digests(arrays)
        if not mapped and whole != stored:
            raise UserError("damaged: the digest of its arrays is not the one that was stored with them")
    return Data(spec, arrays, class_names, source, lasting, resize)


def _mapped(path: Path, images: h5py.Dataset) -> np.memmap:
    if images.id.get_offset() is None:
        raise UserError(f"{images.name[1:]} is stored in chunks, so that it cannot be read row by row")
    return np.memmap(path, images.dtype, "r", images.id.get_offset(), images.shape)


def read_spec(path: Path) -> Spec:
    """Name, shape and number of classes, from attributes and shapes only."""
    with _opened(path) as file:
        return _header(file)[0]


def read_labels(path: Path) -> tuple[np.ndarray, int]:
    """The labels of the training images and the number of classes."""
    with _opened(path) as file:
        classes = _header(file)[0].classes
        return file["train/label"][()], classes


class _Writes(io.RawIOBase):
    """A file of which only what was written is kept, with its place; the holes between take no memory."""

    def __init__(self):
        self.kept: list[tuple[int, bytes]] = []
        self.at = self.size = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def write(self, content: bytes) -> int:
        self.kept.append((self.at, bytes(content)))
        self.at += len(content)
        self.size = max(self.size, self.at)
        return len(content)

    def truncate(self, size: int) -> int:
        self.size = size
        return size


def _frame(data: Data, digest: str) -> list[tuple[int, bytes | np.ndarray]]:
    """The contents of the file with their offsets, in the order to write them. HDF5 crashes the process if a disk fills
    up under it, so it lays out a file that is nowhere, with holes for the arrays; their bytes are ours to write."""
    holes = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    holes.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    holes.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    writes = _Writes()
    with h5py.File(writes, "w") as file:
        places = [file.create_dataset(part, array.shape, array.dtype, dcpl=holes.copy()).id.get_offset()
                  for part, array in zip(PARTS, data.arrays, strict=True)]
        describe(file, data.spec.name, data.class_names, data.source, digest, data.digest)
        for attribute, text in (("resize", data.resize), ("rest", _rest(data.arrays))):
            file.attrs[attribute] = np.bytes_(text.encode())
    return [*writes.kept, *zip(places, data.arrays, strict=True)]


def describe(file: h5py.File, name: str, class_names: Sequence[str], source: str, digest: str,
             lasting: str) -> None:
    """Give an open file the attributes of the format."""
    file.attrs["format"] = FORMAT
    for attribute, text in (("name", name), ("class_names", json.dumps(class_names)), ("source", source),
                            ("digest", digest), ("lasting", lasting)):
        file.attrs[attribute] = np.bytes_(text.encode())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The file, open to read; whatever goes wrong inside becomes a UserError that names it."""
    if os.path.isdir(path):
        raise UserError(f"{path}: a folder, but it must be an HDF5 file; name the file in it")
    try:
        with h5py.File(path, "r", locking=False) as file:  # never written in place, so no lock is needed
            yield file
    except UserError as error:
        raise UserError(f"{path}: {error};\n{REMEDY}") from None
    except FileNotFoundError:
        raise UserError(f"{path}: not there; make it with download.py (data of your own: datasets.h5.write)") from None
    except PermissionError as error:
        raise UserError(f"{path}: {os.strerror(error.errno)}; change its access rights") from None
    except Exception as error:  # on damaged bytes h5py raises nearly every kind
        raise UserError(f"{path}: not a whole HDF5 file ({brief(error)});\n{REMEDY}") from None


def _header(file: h5py.File) -> tuple[Spec, tuple[str, ...]]:
    if "format" not in file.attrs:
        raise UserError("an HDF5 file, but not a data set of this toolkit (no attribute 'format')")
    found = file.attrs["format"]
    if not np.array_equal(found, FORMAT):
        raise UserError(f"written in format {str(found)!r:.40}, but this version of the toolkit reads format {FORMAT}")
    missing = [name for name in ("name", "class_names", "source", "digest") if name not in file.attrs]
    missing += [part for part in PARTS if not inside(file, part)]
    if missing:
        raise UserError(f"without {', '.join(missing)}")
    parts = Arrays(*(file[part] for part in PARTS))
    class_names = json.loads(_text(file, "class_names"))
    if not isinstance(class_names, list):
        raise UserError("attribute 'class_names' is no JSON list")
    spec = _spec(parts, _text(file, "name"), tuple(class_names))
    for part in parts:  # a damaged shape must not make us ask for more memory than the file can fill
        if part.id.get_storage_size() != part.size * part.dtype.itemsize:
            raise UserError(f"{part.name[1:]} is compressed or not all there")
    return spec, tuple(class_names)


def inside(file: h5py.File, name: str) -> bool:
    """Whether it is an array that lies in the file itself, not behind a link or in other files that it names."""
    folders = name.split("/")
    ways = ["/".join(folders[:end]) for end in range(1, len(folders) + 1)]
    if not all(way in file and isinstance(file.get(way, getlink=True), h5py.HardLink) for way in ways):
        return False
    return isinstance(found := file[name], h5py.Dataset) and found.external is None and not found.is_virtual


def _text(file: h5py.File, name: str) -> str:
    """A text attribute. Of fixed length: HDF5 takes seconds and gigabytes over a damaged variable length."""
    if file.attrs.get_id(name).dtype.kind != "S":
        raise UserError(f"attribute {name!r} is not a text of fixed length")
    return file.attrs[name].decode()


def _spec(parts: Arrays, name: str, class_names: tuple[str, ...]) -> Spec:
    """Check everything but the values; the parts are arrays or HDF5 data sets."""
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise UserError(f"name {name!r:.60}, but it must be made of letters, digits, '_', '.' and '-'")
    if len(set(class_names)) < len(class_names) or not all(
            isinstance(entry, str) and entry.isprintable() and entry for entry in class_names) or len(
            json.dumps(class_names)) > LONGEST:
        raise UserError(f"class names {', '.join(map(repr, class_names[:4])):.200}, {len(class_names)} in all, "
                        f"but they must be different texts that can be printed, at most {LONGEST} bytes together")
    for part, array in zip(PARTS, parts, strict=True):
        kind, axes = ("uint8", "N, H, W, C") if part.endswith("image") else ("int64", "N")
        if array.dtype != np.dtype(kind) or array.ndim != axes.count(",") + 1 or 0 in array.shape:
            raise UserError(f"{part} is {array.dtype} {list(array.shape)}, but it must be {kind} [{axes}], not empty")
    for image, label, split in ((parts.train_image, parts.train_label, "train"),
                                (parts.test_image, parts.test_label, "test")):
        if len(image) != len(label):
            raise UserError(f"{split}: {len(image)} images, but {len(label)} labels")
    if parts.train_image.shape[1:] != parts.test_image.shape[1:]:
        raise UserError(f"train images {list(parts.train_image.shape[1:])}, "
                        f"but test images {list(parts.test_image.shape[1:])}")
    height, width, channels = (int(size) for size in parts.train_image.shape[1:])
    return Spec(name, (height, width, channels), len(class_names))


def _check_labels(arrays: Arrays, classes: int) -> None:
    for split, label, least in (("train", arrays.train_label, -1), ("test", arrays.test_label, 0 if classes else -1)):
        if label.min() < least or label.max() >= classes:
            allowed = f"from {least} to {classes - 1}" if classes else "-1 everywhere, as there are no class names"
            raise UserError(f"{split}/label from {label.min()} to {label.max()}, but it must be {allowed}")
