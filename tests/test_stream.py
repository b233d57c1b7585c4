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
