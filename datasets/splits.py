"""Which training rows are labelled, which are cut off for validation, and which form the unlabelled pool."""
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import UserError


class Split(NamedTuple):
    """Rows of the training arrays, int64, each set in increasing order."""

    labelled: np.ndarray
    validation: np.ndarray
    pool: np.ndarray  # what unlabelled batches are drawn from: every row but validation, the labelled ones included


def choose(labels: np.ndarray, classes: int, count: int, label_seed: int, validation: int,
           labelled: np.ndarray | None = None) -> Split:
    """The labelled rows, if they are not given: the first count / classes of each class along one permutation of all
    rows, as in the code of Salimans et al. 2016 (RandomState's stream is frozen by numpy, so the rows are the same
    everywhere). Validation: the last rows with a label along the same permutation, so that it does not change which
    rows are labelled."""
    order = np.random.RandomState(label_seed).permutation(len(labels))
    walked = labels[order]
    if labelled is None:
        labelled = _balanced(walked, order, classes, count)
    spare = order[(walked >= 0) & ~np.isin(order, labelled)]
    if not 0 <= validation <= len(spare):
        raise UserError(f"--validation {validation}: only {len(spare)} training images have a label that is not "
                        "used for training; hold out no more")
    return of(labelled, np.sort(spare[len(spare) - validation:]), len(labels))


def of(labelled: np.ndarray, validation: np.ndarray, count: int) -> Split:
    """The split of `count` training images with those labelled and validation rows."""
    return Split(labelled, validation, np.setdiff1d(np.arange(count), validation))


def _balanced(walked: np.ndarray, order: np.ndarray, classes: int, count: int) -> np.ndarray:
    if not classes:
        return np.empty(0, np.int64)
    if count < classes or count % classes:
        raise UserError(f"--labels {count}: must be a multiple of the {classes} classes, at least {classes}")
    each = count // classes
    chosen = []
    for k in range(classes):
        rows = order[walked == k]
        if len(rows) < each:
            most = classes * min(np.bincount(walked[walked >= 0], minlength=classes))
            raise UserError(f"--labels {count}: needs {each} images of each class; class {k} has {len(rows)}. "
                            f"At most {most} can be had, or every label there is by --labelled all")
        chosen.append(rows[:each])
    return np.sort(np.concatenate(chosen))


def named(text: str, labels: np.ndarray) -> np.ndarray:
    """The labelled rows that --labelled names, in increasing order: those in a file of row numbers, or "all" that have
    a label. UserError for a row that there is not, that is named twice, or whose label is not known."""
    if text == "all":
        rows = np.flatnonzero(labels >= 0)
    else:
        try:
            words = Path(text).read_text().split()
            rows = np.sort(np.array([int(word) for word in words], np.int64))
        except OSError as error:
            raise UserError(f"--labelled {text}: {error.strerror}; name a file of row numbers, or say all") from None
        except (ValueError, OverflowError):
            raise UserError(f"--labelled {text}: not a list of row numbers; write one in each line") from None
    if not len(rows):
        raise UserError(f"--labelled {text}: no image is named; at least one must be labelled")
    if rows[0] < 0 or rows[-1] >= len(labels):
        raise UserError(f"--labelled {text}: row {rows[0] if rows[0] < 0 else rows[-1]} is named, but the training "
                        f"images are rows 0 to {len(labels) - 1}")
    for bad, why in ((rows[1:][rows[1:] == rows[:-1]], "is named twice"), (rows[labels[rows] < 0], "has no label")):
        if len(bad):
            raise UserError(f"--labelled {text}: row {bad[0]} {why}; take it out of the file")
    return rows


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows, both in order: a share of each class becomes test rows, at least one but never its last,
    the first ones along a permutation by the seed. Images without a label are training images, unless none has one."""
    order = np.random.RandomState(seed).permutation(len(labels))
    kinds = np.unique(labels[labels >= 0]) if (labels >= 0).any() else np.array([-1])
    groups = [order[labels[order] == k] for k in kinds]
    test = np.sort(np.concatenate([rows[:min(max(1, round(share * len(rows))), len(rows) - 1)] for rows in groups]))
    return np.setdiff1d(np.arange(len(labels)), test), test


def digest(rows: np.ndarray, labels: np.ndarray) -> str:
    """sha256 of the rows and then their labels as little-endian int64: two runs with the same digest had the same
    labelled images, labelled alike."""
    return hashlib.sha256(np.concatenate([rows, labels]).astype("<i8").tobytes()).hexdigest()
