"""The reader of data.h5 against HDF5 files that hypothesis makes: of the right names, but any types, shapes, links and
storage. It ends in a sound data set or in a UserError of one or two lines.
"""
import json

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config import UserError
from datasets import h5
from tests.conftest import toy_arrays

SOUND = dict(zip(h5.PARTS, toy_arrays((4, 3, 1), 3, train=6, test=6), strict=True))
NAMES = json.dumps(["cat", "dog", "cow"])
TEXTS = {"name": "Toy", "class_names": NAMES, "source": "made up", "digest": h5.digests(h5.Arrays(*SOUND.values()))[0],
         "lasting": "", "rest": h5._rest(h5.Arrays(*SOUND.values())), "resize": "crop"}

SIZE = st.sampled_from([0, 1, 2, 6, 7, 1 << 16, 1 << 31, 1 << 32, 1 << 40, (1 << 62) - 1])
TYPE = st.sampled_from(["u1", "i1", "<i8", ">i8", "f4", "c8", "?", "S3", "V2", "(2,)u1", [("a", "i8")],
                        h5py.string_dtype(), h5py.vlen_dtype(np.uint8), h5py.ref_dtype, h5py.enum_dtype({"a": 1}, "u1"),
                        h5py.opaque_dtype(np.dtype("M8[s]"))])
STORAGE = st.sampled_from([{}, {"chunks": True}, {"compression": "gzip"}, {"fletcher32": True}, {"shuffle": True},
                           {"fillvalue": 1}, {"maxshape": None}])
DECLARED = st.tuples(st.just("declared"), st.lists(SIZE, max_size=5).map(tuple), TYPE, STORAGE)
STORED = st.tuples(st.just("stored"), st.sampled_from([
    7, "text", b"bytes", [[1, 2, 3]] * 6, np.arange(6.0), np.arange(-9, -3), np.full(6, 1 << 40),
    np.arange(6).astype("i4"), np.zeros((6, 4, 3), np.uint8), np.zeros((6, 3, 4, 1), np.uint8),
    np.zeros((5, 4, 3, 1), np.uint8), h5py.Empty("u1"), ["a", "bc"] * 3]), STORAGE)
RAGGED = st.just(("ragged",))
LINK = st.tuples(st.just("link"), st.sampled_from([
    h5py.SoftLink("/train/image"), h5py.SoftLink("/none"), h5py.SoftLink("/test/label"), h5py.SoftLink("/"),
    h5py.ExternalLink("none.h5", "/train/image")]))
PART = st.one_of(DECLARED, STORED, RAGGED, LINK, st.just(("group",)), st.just(("missing",)))
TEXT = st.one_of(st.text(max_size=20), st.text("[]{}\",0ae\n ", max_size=20), st.sampled_from([
    '"abc"', '{"a": 1}', "3", "null", "[[1]]", '["a"]', '["a", "b", 3]', "[" * 5000, '["\\ud800", "b", "c"]', "[]"]))
VALUE = st.one_of(
    TEXT.map(lambda text: np.bytes_(text.encode("utf-8", "replace"))), TEXT.filter(lambda text: "\0" not in text),
    st.binary(min_size=1, max_size=9).map(np.void),
    st.sampled_from([1, 2, -1.5, np.array([1]), np.zeros(200), np.array([b"Toy", b"b"]), h5py.Empty("S3"), True]),
    st.none())


def store(file, name, what):
    """Put that in the place of the part; what HDF5 itself refuses leaves none there."""
    kind, *rest = what
    if name in file:
        del file[name]
    try:
        if kind == "declared":
            shape, dtype, options = rest
            file.create_dataset(name, shape, dtype, **options)
        elif kind == "stored":
            file.create_dataset(name, data=rest[0], **rest[1])
        elif kind == "ragged":
            rows = file.create_dataset(name, 6, h5py.vlen_dtype(np.uint8))
            rows[:] = [np.arange(n, dtype=np.uint8) for n in range(6)]
        elif kind == "link":
            file[name] = rest[0]
        elif kind == "group":
            file.create_group(name)
    except (ValueError, TypeError, OSError, RuntimeError, KeyError, OverflowError):
        return


def describe(file, attribute, value):
    if attribute in file.attrs:
        del file.attrs[attribute]
    if value is not None:
        file.attrs[attribute] = value


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "data.h5"


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(parts=st.dictionaries(st.sampled_from(h5.PARTS), PART, max_size=2),
       attributes=st.dictionaries(st.sampled_from(["format", *TEXTS]), VALUE, max_size=2))
@example(parts={}, attributes={})
@example(parts={}, attributes={"class_names": np.bytes_(b'"abc"')})  # three letters are no list of three names
@example(parts={}, attributes={"format": np.zeros(200)})  # which numpy writes over several lines
@example(parts={}, attributes={"name": np.bytes_(b"[" * 5000)})
@example(parts={}, attributes={"class_names": np.bytes_(json.dumps(["cat" * 5000] * 3).encode())})
def test_any_hdf5_file_is_a_data_set_or_refused(parts, attributes, path):
    with h5py.File(path, "w") as file:
        for name, array in SOUND.items():
            file[name] = array
        for attribute, text in {**TEXTS, "format": 1}.items():
            file.attrs[attribute] = text if attribute == "format" else np.bytes_(text)
        for name, what in parts.items():
            store(file, name, what)
        for attribute, value in attributes.items():
            describe(file, attribute, value)
    for reader, words in ((h5.read, ()), (h5.read, (0,)), (h5.read_spec, ()), (h5.read_labels, ())):
        found, refusal = None, ""
        try:
            found = reader(path, *words)
        except UserError as error:
            refusal = str(error)
        assert len(refusal.splitlines()) <= 2
        assert len(refusal) < 2000
        assert found or parts or attributes
        if reader is h5.read and found:
            assert json.loads(attributes.get("class_names", NAMES)) == list(found.class_names)
            if words == ():
                assert h5.digests(found.arrays)[0] == TEXTS["digest"]
