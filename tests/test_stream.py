"""The walk through the images."""
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.stream import Stream

ROWS = np.arange(100, 137)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 90), st.integers(0, 2**31), st.integers(0, 5))
def test_each_row_once_per_epoch_whatever_the_batch(size, seed, number):
    stream = Stream(ROWS, seed, number)
    walk = np.concatenate([stream.take(i * size, size) for i in range(-(-3 * len(ROWS) // size))])
    for epoch in range(3):
        assert sorted(walk[epoch * 37:(epoch + 1) * 37]) == ROWS.tolist()


def test_position_alone_decides():
    there = Stream(ROWS, 1, 1)
    for position in (500, 3, 77):
        there.take(position, 10)
    assert there.take(40, 30).tolist() == Stream(ROWS, 1, 1).take(40, 30).tolist()


def test_epochs_seeds_and_numbers_differ():
    first = Stream(ROWS, 1, 1).take(0, 37).tolist()
    others = [Stream(ROWS, 1, 1).take(37, 37), Stream(ROWS, 2, 1).take(0, 37), Stream(ROWS, 1, 2).take(0, 37)]
    assert all(other.tolist() != first for other in others)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 20))
def test_windows_of_blocks_are_walked_one_after_the_other(window, block, size):
    stream = Stream(ROWS, 3, 1, window, block)
    walk = np.concatenate([stream.take(i * size, size) for i in range(-(-2 * len(ROWS) // size))])
    window, windows = min(window, 37), -(-37 // min(window, 37))
    for epoch in range(2):
        order = walk[epoch * 37:(epoch + 1) * 37]
        assert sorted(order) == ROWS.tolist()
        for w in range(windows):
            number, offset = stream.at(epoch * 37 + w * window)
            assert (number, offset) == (epoch * windows + w, 0)
            rows = stream.rows_of(number)
            assert sorted(order[w * window:(w + 1) * window]) == sorted(rows)
            if window < 37:
                assert np.count_nonzero(np.diff(rows) != 1) <= len(rows) // block + 2  # few runs for a disk to seek


def test_windows_differ_in_order():
    stream = Stream(np.arange(4000), 1, 1, 1000, 10)
    inside = [stream.take(w * 1000, 1000).argsort().tolist() for w in range(8)]
    assert all(a != b for i, a in enumerate(inside) for b in inside[:i])
    assert stream.rows_of(0).tolist() != stream.rows_of(4).tolist()  # blocks are permuted anew in each epoch
