"""Which training rows are labelled, which are cut off for validation, and which form the unlabelled pool."""
import hashlib
from typing import NamedTuple

import numpy as np

from config import UserError


class Split(NamedTuple):
    """Rows of the training arrays, int64, each set in increasing order."""

    labelled: np.ndarray
    validation: np.ndarray
    pool: np.ndarray  # what unlabelled batches are drawn from: every row but validation, the labelled ones included


def choose(labels: np.ndarray, classes: int, count: int, label_seed: int, validation: int) -> Split:
    """The labelled rows: the first count / classes of each class along one permutation of all rows, as in the code of
    Salimans et al. 2016 (RandomState's stream is frozen by numpy, so the rows are the same everywhere). Validation:
    the last rows with a label along the same permutation, so that it does not change which rows are labelled."""
    if count < classes or count % classes:
        raise UserError(f"--labels {count}: must be a multiple of the {classes} classes, at least {classes}")
    order = np.random.RandomState(label_seed).permutation(len(labels))
    walked = labels[order]
    each = count // classes
    chosen = []
    for k in range(classes):
        rows = order[walked == k]
        if len(rows) < each:
            raise UserError(f"--labels {count}: needs {each} images of each class; class {k} has {len(rows)}. "
                            f"At most {classes * min(np.bincount(labels[labels >= 0], minlength=classes))} can be had")
        chosen.append(rows[:each])
    labelled = np.sort(np.concatenate(chosen))
    spare = order[(walked >= 0) & ~np.isin(order, labelled)]
    if not 0 <= validation <= len(spare):
        raise UserError(f"--validation {validation}: {len(spare)} labelled training images are left for it")
    held = np.sort(spare[len(spare) - validation:])
    return Split(labelled, held, np.setdiff1d(np.arange(len(labels)), held))


def digest(rows: np.ndarray) -> str:
    """sha256 of the rows as little-endian int64: two runs with the same digest had the same labelled images."""
    return hashlib.sha256(np.asarray(rows, "<i8").tobytes()).hexdigest()
