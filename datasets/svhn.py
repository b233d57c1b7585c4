"""SVHN, format 2: 73,257 + 26,032 house-number digits of 32x32 pixels (Netzer et al., 2011), non-commercial use."""
from pathlib import Path

import numpy as np

from config import UserError
from datasets.h5 import Arrays
from datasets.source import File, Source


def read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 32, 32, 3] and int64 [N] of a published .mat file, where the digit 0 has label 10."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=["X", "y"])
        image, label = np.asarray(content["X"]), np.asarray(content["y"])
    except Exception as error:  # on damaged bytes scipy raises nearly every kind
        raise UserError(f"{path.name}: not a .mat file with X and y ({type(error).__name__})") from None
    if image.dtype != np.uint8 or image.ndim != 4 or image.shape[:3] != (32, 32, 3) or label.shape != (
            image.shape[3], 1):
        raise UserError(f"{path.name}: X is {image.dtype} {list(image.shape)} and y is {list(label.shape)}; "
                        "expected uint8 [32, 32, 3, N] and [N, 1]")
    if not np.isin(label, np.arange(1, 11)).all():
        raise UserError(f"{path.name}: a label is not one of 1..10")
    return np.ascontiguousarray(image.transpose(3, 0, 1, 2)), label[:, 0].astype(np.int64) % 10


def build(folder: Path) -> Arrays:
    """[N, 32, 32, 3], in the published order and split; the "extra" images are not used."""
    return Arrays(*read_mat(folder / "train_32x32.mat"), *read_mat(folder / "test_32x32.mat"))


def _upstream() -> tuple[File, ...]:
    from torchvision.datasets import SVHN  # here: it takes seconds to import

    return tuple(File(name, (url,), md5) for url, name, md5 in (SVHN.split_list[split] for split in ("train", "test")))


SOURCE = Source("SVHN", (32, 32, 3), tuple("0123456789"), "SVHN format 2, Netzer et al. 2011", build, _upstream)
