"""CIFAR-10: its upstream archive to arrays; what is malformed, damaged or malicious."""
import tarfile

import numpy as np
import pytest

from config import UserError
from datasets import cifar10
from tests import mirror


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
