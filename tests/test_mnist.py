"""MNIST and Fashion-MNIST: their upstream files to arrays; what is malformed, damaged or huge."""
import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import UserError
from datasets import fashion, h5, mnist
from tests import mirror


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
