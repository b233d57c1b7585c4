"""Digits: scikit-learn's 1,797 handwritten digits of 8x8 pixels, embedded (no file, no download).

A copy of the test set of the UCI "Optical Recognition of Handwritten Digits" data. They have no published split of
their own: 1,437 train and 360 test images, the same share of each digit, are fixed in digits_rows.txt, which
train_test_split(range(1797), test_size=360, stratify=target, random_state=0) of scikit-learn gave.
"""
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from datasets.h5 import Arrays
from datasets.source import Source

ROWS = Path(__file__).with_name("digits_rows.txt")  # of the training images, then those of the 360 test images


def build(_folder: Path | None = None) -> Arrays:
    """[N, 8, 8, 1]; the values 0..16 become round(v * 255 / 16)."""
    # scikit-learn's file without scikit-learn, whose import is a fifth of the time in which a training starts.
    file = Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"
    values = np.loadtxt(file, np.uint8, delimiter=",")
    image = np.rint(values[:, :64].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    label = values[:, 64].astype(np.int64)
    train, test = np.split(np.array(ROWS.read_text().split(), int), [len(image) - 360])
    return Arrays(image[train], label[train], image[test], label[test])


SOURCE = Source("Digits", (8, 8, 1), tuple("0123456789"),
                "UCI Optical Recognition of Handwritten Digits, from scikit-learn", build, upstream=None)
