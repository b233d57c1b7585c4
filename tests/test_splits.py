"""Labelled rows: exact, balanced, the same everywhere, and disjoint from validation."""
import numpy as np
import pytest

from config import UserError
from datasets import splits

LABELS = np.random.RandomState(5).randint(0, 10, 1000).astype(np.int64)


@pytest.mark.parametrize("count", [10, 50, 500])
def test_exact_and_balanced(count):
    split = splits.choose(LABELS, 10, count, 1, 0)
    assert np.bincount(LABELS[split.labelled]).tolist() == [count // 10] * 10
    assert len(np.unique(split.labelled)) == count
    assert split.pool.tolist() == list(range(1000))


def test_follows_the_reference_code():
    order = np.random.RandomState(3).permutation(1000)
    expected = [row for k in range(10) for row in order[LABELS[order] == k][:4]]
    assert splits.choose(LABELS, 10, 40, 3, 0).labelled.tolist() == sorted(expected)


def test_rows_are_pinned():
    assert splits.digest(splits.choose(LABELS, 10, 20, 1, 0).labelled).startswith("979a1e67f4ab4144")


def test_more_labels_contain_fewer_and_seeds_differ():
    few, more, other = (set(splits.choose(LABELS, 10, n, seed, 0).labelled) for n, seed in ((20, 1), (100, 1), (20, 2)))
    assert few < more
    assert few != other


def test_validation_is_out_of_pool_and_labelled_and_changes_neither_choice():
    split = splits.choose(LABELS, 10, 50, 1, 200)
    assert len(split.validation) == 200
    assert not set(split.validation) & (set(split.labelled) | set(split.pool))
    assert len(split.pool) == 800
    assert split.labelled.tolist() == splits.choose(LABELS, 10, 50, 1, 0).labelled.tolist()


def test_unlabelled_rows_stay_in_the_pool_only():
    labels = LABELS.copy()
    labels[::2] = -1
    split = splits.choose(labels, 10, 50, 1, 100)
    assert (labels[split.labelled] >= 0).all()
    assert (labels[split.validation] >= 0).all()
    assert set(np.flatnonzero(labels < 0)) <= set(split.pool)


@pytest.mark.parametrize(("count", "validation", "message"), [
    (0, 0, "multiple of the 10 classes"), (7, 0, "multiple"), (55, 0, "multiple"), (-10, 0, "multiple"),
    (2000, 0, "needs 200 images of each class"), (50, 951, "950 labelled"), (50, -1, "--validation -1")])
def test_what_cannot_be_had_is_refused(count, validation, message):
    with pytest.raises(UserError, match=message):
        splits.choose(LABELS, 10, count, 1, validation)
