"""Digits: scikit-learn's 1,797 handwritten digits of 8x8 pixels, embedded (no file, no download).

A copy of the test set of the UCI "Optical Recognition of Handwritten Digits" data. They have no published split of
their own: 1,437 train and 360 test images are fixed here, the same share of each digit.
"""
from pathlib import Path

import numpy as np

from datasets.h5 import Arrays
from datasets.source import Source


def build(_folder: Path | None = None) -> Arrays:
    """[N, 8, 8, 1]; the values 0..16 become round(v * 255 / 16)."""
    from sklearn.datasets import load_digits  # here: it takes a second to import
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    image = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]
    train, test = train_test_split(np.arange(len(image)), test_size=360, stratify=digits.target, random_state=0)
    label = digits.target.astype(np.int64)
    return Arrays(image[train], label[train], image[test], label[test])


SOURCE = Source("Digits", (8, 8, 1), tuple("0123456789"),
                "UCI Optical Recognition of Handwritten Digits, from scikit-learn", build, upstream=None)
