"""The order of the images as a pure function of position, so that a run needs no memory of it to be resumed."""
import numpy as np


class Stream:
    """An endless shuffled walk: each row comes once per epoch whatever the batch size, in an order that is new in each
    epoch. Streams of other seeds or numbers are independent.

    Up to `window` rows are permuted as a whole. More are shuffled so that a disk can follow: blocks of consecutive
    rows are permuted, then the rows within each `window` of that order."""

    def __init__(self, rows: np.ndarray, seed: int, number: int, window: int = 1 << 62, block: int = 1):
        self.rows, self.key, self.block = rows, (seed, number), block
        self.window = min(window, len(rows))
        self._coarse: tuple[int, np.ndarray] = -1, rows  # epoch, its rows with the blocks in order
        self._fine: tuple[int, np.ndarray] = -1, rows  # number of a window from the start of the walk, its rows

    def _permutation(self, count: int, *what: int) -> np.ndarray:
        # RandomState's permutations are the same in every version of numpy; SFC64 is seeded sooner than its own.
        return np.random.RandomState(np.random.SFC64((*self.key, *what))).permutation(count)

    def _blocks(self, epoch: int) -> np.ndarray:
        if self.window == len(self.rows):
            return self.rows
        if epoch != self._coarse[0]:
            starts = self.block * self._permutation(-(-len(self.rows) // self.block), epoch, 1)
            self._coarse = epoch, np.concatenate([self.rows[start:start + self.block] for start in starts])
        return self._coarse[1]

    def at(self, position: int) -> tuple[int, int]:
        """(number of the window, offset in it) of a position of the walk."""
        epoch, offset = divmod(position, len(self.rows))
        window, offset = divmod(offset, self.window)
        return epoch * -(-len(self.rows) // self.window) + window, offset

    def rows_of(self, number: int) -> np.ndarray:
        """The rows of a window, unshuffled."""
        epoch, window = divmod(number, -(-len(self.rows) // self.window))
        return self._blocks(epoch)[window * self.window:(window + 1) * self.window]

    def _shuffled(self, number: int) -> np.ndarray:
        if number != self._fine[0]:
            rows = self.rows_of(number)
            self._fine = number, rows[self._permutation(len(rows), number)]
        return self._fine[1]

    def take(self, start: int, count: int) -> np.ndarray:
        """Rows start .. start + count of the walk: int64 [count]; none of a walk through no rows."""
        parts = [self.rows[:0]]
        if not len(self.rows):
            return parts[0]
        while count:
            number, offset = self.at(start)
            part = self._shuffled(number)[offset:offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts)
