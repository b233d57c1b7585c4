"""SVHN: its upstream files to arrays; what is malformed or damaged."""
import numpy as np
import pytest
import scipy.io

from config import UserError
from datasets import svhn
from tests import mirror


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
