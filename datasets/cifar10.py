"""CIFAR-10: 50,000 + 10,000 photographs of 32x32 pixels (Krizhevsky, 2009), from the binary archive.

The archive for Python holds pickles, which can run code; the binary one holds records of 1 + 3,072 bytes.
"""
import tarfile
from pathlib import Path

import numpy as np

from config import UserError
from datasets.h5 import Arrays
from datasets.source import File, Source

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = "cifar-10-binary.tar.gz"
TRAIN = tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6))
TEST = "cifar-10-batches-bin/test_batch.bin"
RECORD = 1 + 3 * 32 * 32  # label, then the planes red, green, blue, each row by row


def records(raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 32, 32, 3] and int64 [N] of the records of one or more batches."""
    rows = np.frombuffer(raw, np.uint8).reshape(-1, RECORD)
    return np.ascontiguousarray(rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), rows[:, 0].astype(np.int64)


def read_batches(path: Path) -> dict[str, bytes]:
    """The six batches of the archive by member name. Nothing is extracted: other members are passed over."""
    batches: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                if member.name not in (*TRAIN, TEST):
                    continue
                if not member.isreg() or member.name in batches or not 0 < member.size <= 10_000 * RECORD \
                        or member.size % RECORD:
                    raise UserError(f"{path.name}: {member.name} is not one file of 1 to 10,000 records of "
                                    f"{RECORD} bytes ({member.size} bytes)")
                batches[member.name] = archive.extractfile(member).read()
    except (OSError, ValueError, tarfile.TarError) as error:
        raise UserError(f"{path.name}: damaged archive ({error})") from None
    missing = [name for name in (*TRAIN, TEST) if name not in batches]
    if missing:
        raise UserError(f"{path.name}: {missing[0]} is not in the archive")
    return batches


def build(folder: Path) -> Arrays:
    """[N, 32, 32, 3], in the published order and split."""
    batches = read_batches(folder / ARCHIVE)
    return Arrays(*records(b"".join(batches[name] for name in TRAIN)), *records(batches[TEST]))


def _upstream() -> tuple[File, ...]:
    # torchvision knows only the archive of pickles; this md5 stands on https://www.cs.toronto.edu/~kriz/cifar.html
    return (File(ARCHIVE, (f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",), "c32a1d4ab5d03f1284b67883e8d87530"),)


SOURCE = Source("CIFAR10", (32, 32, 3), CLASSES, "CIFAR-10, Krizhevsky 2009", build, _upstream)
