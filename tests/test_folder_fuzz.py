"""The importer of pictures against folders that hypothesis makes and a corpus of damaged pictures made here.

It ends in a whole data.h5, whose pictures are those of the usable files, or in a UserError of one or two lines that
leaves nothing. Every file is kept or told of.
"""
import collections
import contextlib
import io
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from config import UserError
from datasets import files, folder, h5, labelling, photo

LOOK = photo.Look(8, 8, "crop", False)
KINDS = {"jpg": ("JPEG", {}), "progressive.jpg": ("JPEG", {"progressive": True}), "png": ("PNG", {}),
         "webp": ("WEBP", {}), "lossless.webp": ("WEBP", {"lossless": True}), "gif": ("GIF", {}), "bmp": ("BMP", {}),
         "tif": ("TIFF", {}), "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
         "jpeg.tif": ("TIFF", {"compression": "jpeg"})}
# Ends of what is told of files that are kept, or not there.
SHARED = ("both are kept", "not among the pictures", "are these the classes?")


def picture(kind, number):
    """The bytes of a picture that no other number has."""
    pixels = np.random.RandomState(number).randint(0, 256, (3, 4, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, KINDS[kind][0], **KINDS[kind][1])
    return out.getvalue()


def damaged(content, cut, flips):
    """The first `cut` of the content, with one bit flipped at each of the places (shares of the length)."""
    content = bytearray(content[:round(cut * len(content))])
    for where, bit in flips:
        if content:
            content[int(where * len(content))] ^= 1 << bit
    return bytes(content)


def usable(root):
    """How often each picture, as its pixels, is among the files."""
    found = photo.decode_all([path for path in walked(root) if os.path.isfile(path)], LOOK)
    return collections.Counter(content for content in found if isinstance(content, bytes))


def walked(root):
    """Every file that is not hidden, whether a link or not."""
    for at, folders, found in os.walk(root):
        linked = [name for name in folders if os.path.islink(os.path.join(at, name))]
        folders[:] = [name for name in folders if not name.startswith(".") and name not in linked]
        yield from (os.path.join(at, name) for name in (*found, *linked) if not name.startswith("."))


def assert_whole_or_nothing(root, target, labels=""):
    """Import the folder and return the data, or None where that is refused."""
    told, refusal = io.StringIO(), ""
    try:
        with contextlib.redirect_stderr(told), files.data_set(target):
            made = folder.make(target, "PETS", folder.Options(str(root), size="8", labels=labels))
    except UserError as error:
        refusal = str(error)
    if refusal:
        assert len(refusal.splitlines()) <= 2
        assert not target.parent.exists()
        return None
    data = h5.read(target)
    assert data.digest == made.digest
    assert sorted(path.name for path in target.parent.iterdir()) == ["data.h5", "files.csv"]
    assert list(labelling.by_row(target.with_name("files.csv"))) == list(range(len(data.arrays.train_image)))
    images = [image.tobytes() for part in (data.arrays.train_image, data.arrays.test_image) for image in part]
    assert not collections.Counter(images) - usable(root)
    lines = [line for line in told.getvalue().splitlines() if line.startswith("  ")]
    left_out = [line for line in lines if not any(end in line for end in SHARED)]
    table = labels and (root / labels).is_file()
    assert len(images) + len(left_out) == len(list(walked(root))) - bool(table)
    return data


KIND = st.sampled_from(sorted(KINDS))
BIT = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
CONTENT = st.one_of(
    st.builds(picture, KIND, st.integers(0, 30)),
    st.builds(damaged, st.builds(picture, KIND, st.integers(0, 30)), st.floats(0, 1), st.lists(BIT, max_size=4)),
    st.binary(max_size=60),
    st.sampled_from(["link:/etc/passwd", "link:..", "link:self", "link:cat", "pipe", "folder"]))
# Bytes that are not UTF-8 come from the file system as lone surrogates.
ODD = st.text(st.one_of(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]),
                        st.sampled_from("\udce9\n\x1b \u202e\\%{}'")), min_size=1, max_size=8)
CLASS = st.one_of(st.sampled_from(["cat", "dog", "Cat", "cow", "dög", " "]), ODD)
NAME = st.one_of(st.builds("{}.{}{}".format, CLASS, st.integers(0, 99), st.sampled_from(["", ".jpg", ".PNG", ".csv"])),
                 st.sampled_from(["1.png", "4.png"]), ODD)
ROLE = st.sampled_from(["train", "Train", "labelled", "labeled", "unlabelled", "UNLABELED", "test", "Test"])
WILD = st.lists(st.one_of(ROLE, CLASS), max_size=3).flatmap(lambda above: NAME.map(lambda name: [*above, name]))
# A new class has one picture, which is refused; most paths are those of classes that are there.
TAME = st.tuples(ROLE, st.sampled_from(["cat", "dog"]), NAME) | st.tuples(st.sampled_from(["cat", "dog"]), NAME)
PATH = TAME | TAME | TAME | WILD
SOUND = {"folders": "{0}/{1}.png", "numbered": "{0}.{1}.png", "parted": "train/{0}/{1}.png",
         "parted, numbered": "labelled/{0}.{1}.png", "nothing": None}


def write(root, parts, content):
    """Put that at the path, if the path is free and its folders are no files."""
    path = root.joinpath(*parts)
    if root not in path.parents or {".", ".."} & set(parts):
        return
    with contextlib.suppress(FileExistsError, NotADirectoryError, UnicodeEncodeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == "folder":
            path.mkdir()
        elif content == "pipe":
            os.mkfifo(path)
        elif isinstance(content, str):
            path.symlink_to(path if content == "link:self" else content.removeprefix("link:"))
        else:
            with open(path, "xb") as file:
                file.write(content)


def sound(root, layout):
    """Three good pictures of each of two classes."""
    for number in range(6 if SOUND[layout] else 0):
        parts = SOUND[layout].format("cat" if number < 3 else "dog", number).split("/")
        write(root, parts, picture("png", 100 + number))


@pytest.fixture
def one_process(monkeypatch):
    """Pictures are decoded here: to start processes takes a second each time."""
    def decoded(paths, look):
        yield from photo.decode_all(paths, look)

    monkeypatch.setattr(folder, "decoded", decoded)


FEW = settings(max_examples=150, deadline=None, derandomize=True, database=None,
               suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@FEW
@given(layout=st.sampled_from(sorted(SOUND)), others=st.lists(st.tuples(PATH, CONTENT), max_size=8))
@example(layout="parted", others=[(["labelled", "cat", "1.png"], picture("bmp", 7))])  # train/cat/1.png is another
def test_any_folder_is_taken_whole_or_refused(layout, others, one_process, tmp_path_factory):
    root = tmp_path_factory.mktemp("any")
    (root / "pictures").mkdir()
    sound(root / "pictures", layout)
    for parts, content in others:
        write(root / "pictures", parts, content)
    assert_whole_or_nothing(root / "pictures", root / "data" / "data.h5")


CELL = st.one_of(st.sampled_from(["cat", "dog", "", "cat.0.png", "./dog.4.png", "train/cat/1.png", "cat/2.png"]), ODD)
TABLE = st.one_of(st.binary(max_size=80).map(lambda some: b"file,label\n" + some), st.binary(max_size=40), st.lists(
    st.tuples(CELL, CELL), max_size=8).map(
        lambda rows: "\n".join(["file,label", *map(",".join, rows)]).encode("utf-8", "surrogateescape")))


@FEW
@given(layout=st.sampled_from(sorted(SOUND)), table=TABLE, filled=st.booleans())
def test_any_table_is_taken_whole_or_refused(layout, table, filled, one_process, tmp_path_factory):
    root = tmp_path_factory.mktemp("table") / "pictures"
    root.mkdir()
    sound(root, layout)
    rows = [f"{os.path.relpath(path, root)},{'cat' if 'cat' in path else 'dog'}\n" for path in sorted(walked(root))]
    (root / "labels.csv").write_bytes(("file,label\n" + "".join(rows)).encode() + table if filled else table)
    data = assert_whole_or_nothing(root, root.parent / "data" / "data.h5", "labels.csv")
    assert data is None or {"cat", "dog"} <= set(data.class_names) or not filled


def test_a_corpus_of_damaged_pictures(tmp_path):
    """By the decoding processes: of every kind, cut and with bits flipped, among good ones."""
    rng = np.random.RandomState(0)
    for number, kind in enumerate(sorted(KINDS) * 2):
        content = picture(kind, number)
        write(tmp_path / "pictures", ["cat" if number % 2 else "dog", f"{number}.{kind}"], content)
        for i in range(12):
            cut = i / 12 if i % 2 else 1
            flips = [] if i % 2 else list(zip(rng.rand(4), rng.randint(0, 8, 4), strict=True))
            write(tmp_path / "pictures", ["cat", f"damaged {number} {i}"], damaged(content, cut, flips))
    data = assert_whole_or_nothing(tmp_path / "pictures", tmp_path / "data" / "data.h5")
    assert data.class_names == ("cat", "dog")
