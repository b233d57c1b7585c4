"""The order of the images as a pure function of position, so that a run needs no memory of it to be resumed."""
import numpy as np


class Stream:
    """An endless shuffled walk: one fresh permutation of `rows` after the other, so that each row comes once per
    epoch whatever the batch size. Streams of other seeds or numbers are independent."""

    def __init__(self, rows: np.ndarray, seed: int, number: int):
        self.rows, self.key = rows, (seed, number)
        self._epoch, self._order = -1, rows

    def _permuted(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch = epoch
            # RandomState's permutations are the same in every version of numpy; SFC64 is seeded sooner than its own.
            bits = np.random.SFC64((*self.key, epoch))
            self._order = self.rows[np.random.RandomState(bits).permutation(len(self.rows))]
        return self._order

    def take(self, start: int, count: int) -> np.ndarray:
        """Rows start .. start + count of the walk: int64 [count]."""
        parts = []
        while count:
            epoch, offset = divmod(start, len(self.rows))
            part = self._permuted(epoch)[offset:offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts)
