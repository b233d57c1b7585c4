"""Labelled rows: exact, balanced, the same everywhere, and disjoint from validation."""
import re

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
    rows = splits.choose(LABELS, 10, 20, 1, 0).labelled
    assert splits.digest(rows, LABELS[rows]).startswith("627c6b243d5e25fd")
    assert splits.digest(rows, LABELS[rows]) != splits.digest(rows, LABELS[rows][::-1])


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


def test_validation_is_the_end_of_the_walk_whatever_is_labelled():
    order = np.random.RandomState(1).permutation(1000)
    for count in (50, 500):
        assert splits.choose(LABELS, 10, count, 1, 100).validation.tolist() == sorted(order[-100:])


def test_unlabelled_rows_stay_in_the_pool_only():
    labels = LABELS.copy()
    labels[::2] = -1
    split = splits.choose(labels, 10, 50, 1, 100)
    assert (labels[split.labelled] >= 0).all()
    assert (labels[split.validation] >= 0).all()
    assert set(np.flatnonzero(labels < 0)) <= set(split.pool)


def test_without_classes_every_row_is_in_the_pool():
    split = splits.choose(np.full(9, -1), 0, 0, 1, 0)
    assert [rows.tolist() for rows in split] == [[], [], list(range(9))]
    assert {rows.dtype.name for rows in split} == {"int64"}
    with pytest.raises(UserError, match="--validation 2: only 0 training images"):
        splits.choose(np.full(9, -1), 0, 0, 1, 2)


@pytest.mark.parametrize(("count", "validation", "message"), [
    (0, 0, "multiple of the 10 classes"), (7, 0, "multiple"), (55, 0, "multiple"), (-10, 0, "multiple"),
    (2000, 0, "needs 200 images of each class"), (50, 951, "only 950 training images"), (50, -1, "--validation -1")])
def test_what_cannot_be_had_is_refused(count, validation, message):
    with pytest.raises(UserError, match=message):
        splits.choose(LABELS, 10, count, 1, validation)


def test_the_most_that_a_refusal_names_can_be_had():
    with pytest.raises(UserError, match="At most") as refused:
        splits.choose(LABELS, 10, 2000, 1, 0)
    most = int(re.search(r"At most (\d+)", str(refused.value))[1])
    assert len(splits.choose(LABELS, 10, most, 1, 0).labelled) == most


def test_named_rows_are_the_labelled_ones(tmp_path):
    labels = np.array([0, 1, -1, 1, 2, 0])
    file = tmp_path / "rows.txt"
    file.write_text("4\n0 3\n")
    assert splits.named(str(file), labels).tolist() == [0, 3, 4]
    assert splits.named("all", labels).tolist() == [0, 1, 3, 4, 5]
    split = splits.choose(labels, 3, 99, 1, 1, splits.named(str(file), labels))
    assert split.labelled.tolist() == [0, 3, 4]
    assert split.validation[0] in (1, 5)
    assert sorted([*split.pool, *split.validation]) == list(range(6))


@pytest.mark.parametrize(("text", "said"), [("0\n6\n", "row 6 is named, but.*0 to 5"), ("-1", "row -1 is named"),
                                            ("1 3 7", "row 7 is named"), ("1 1", "row 1 is named twice"),
                                            ("2", "row 2 has no label"), ("1.5", "not a list of row numbers"),
                                            ("9" * 30, "not a list of row"), ("", "no image is named")])
def test_rows_that_cannot_be_labelled_are_refused(text, said, tmp_path):
    file = tmp_path / "rows.txt"
    file.write_text(text)
    with pytest.raises(UserError, match=f"--labelled .*{said}"):
        splits.named(str(file), np.array([0, 1, -1, 1, 2, 0]))


def test_a_file_of_rows_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--labelled .*none\.txt: No such file"):
        splits.named(str(tmp_path / "none.txt"), LABELS)


def test_what_is_held_out_is_a_share_of_each_class():
    labels = np.array([0] * 40 + [1] * 10 + [-1] * 20)
    train, test = splits.hold_out(labels, 0.2, 1)
    assert np.bincount(labels[test]).tolist() == [8, 2]
    assert sorted([*train, *test]) == list(range(70))
    assert test.tolist() != splits.hold_out(labels, 0.2, 2)[1].tolist()
    assert len(splits.hold_out(labels[50:], 0.2, 1)[1]) == 4
    assert len(splits.hold_out(np.zeros(8, int), 0.2, 1)[1]) == 2  # 1.6, rounded


@pytest.mark.parametrize(("share", "held"), [(0.01, [1, 1, 0]), (0.5, [5, 1, 0]), (0.9, [9, 1, 0])])
def test_the_last_image_of_a_class_is_never_held_out(share, held):
    labels = np.array([0] * 10 + [1] * 2 + [2])
    train, test = splits.hold_out(labels, share, 1)
    assert np.bincount(labels[test], minlength=3).tolist() == held
    assert set(labels[train]) == {0, 1, 2}
