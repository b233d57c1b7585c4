"""From the arrays of a data set to batches on the device.

The training images stay bytes (`Storage` says where). Of the labels only those of the labelled rows enter here: the
others cannot reach a loss.
"""
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ops import Pixels

from .splits import Split
from .storage import BLOCK, WINDOW, Storage, current_stream, to_device
from .stream import Stream

AHEAD = 64  # batches whose rows are sent to the device together
LABELLED = 0  # number of the labelled images' stream; players' unlabelled streams count from 1


class Batch(NamedTuple):
    """What one update of one player sees. Each player walks the unlabelled images in an order of its own."""

    x_lab: Tensor  # [B, C, H, W]; none [0, C, H, W] where no image is labelled or none was fetched
    y_lab: Tensor  # [B] int64
    x_unl: Tensor  # [B, C, H, W]
    y_unl: Tensor  # [B] int64, -1 where the label is hidden
    z: Tensor | None  # [B, n_z]; None where there is no generator
    step: Tensor  # 0-d float32, steps done before this one
    x_again: Tensor | None = None  # x_unl from the same bytes, augmented anew; None unless the recipe asks for it


class Pipeline:
    """Batches of a data set as a function of (player, position)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, split: Split, pixels: Pixels, batch_size: int, seed: int,
                 device: torch.device, place: str = "device", augment: Callable[[Tensor], Tensor] = lambda x: x,
                 second_view: bool = False):
        self.augment, self.second_view, self.storage = augment, second_view, Storage(images, place, device)
        # Batches that are not on the device are fetched while the one before is trained on.
        self.worker = None if place == "device" else ThreadPoolExecutor(1)
        self.cuda_stream = current_stream(device)
        self.sent: dict[tuple[str, int], tuple[int, Tensor]] = {}  # position of the first row, rows on the device
        self.ahead: dict[tuple[str, int], tuple[tuple[int, int], Future]] = {}
        self.windows: dict[tuple[str, int], int] = {}
        self.labels = torch.full((len(images),), -1, device=device)
        rows = torch.from_numpy(split.labelled).to(device)
        self.labels[rows] = torch.from_numpy(labels[split.labelled]).to(device)
        self.split, self.pixels, self.batch_size, self.seed, self.device = split, pixels, batch_size, seed, device
        self.streams: dict[tuple[str, int], Stream] = {}

    def take(self, what: str, number: int, position: int, count: int) -> tuple[Tensor, Tensor]:
        """`count` images as bytes [count, C, H, W] and labels [count] from the walk `number` through "labelled" or
        "pool"."""
        if self.worker is None:
            return self._gather(self._rows(what, number, position, count))
        return self.worker.submit(self._read, what, number, position, count).result()

    def _next(self, what: str, number: int, position: int, count: int) -> tuple[Tensor, Tensor]:
        """What `take` gives, from elsewhere than the device; the images behind are read meanwhile."""
        asked, future = self.ahead.pop((what, number), (None, None))
        found = future.result() if asked == (position, count) else self.take(what, number, position, count)
        then = position + count, count
        self.ahead[what, number] = then, self.worker.submit(self._read, what, number, *then)
        return found

    def _stream(self, what: str, number: int) -> Stream:
        if (what, number) not in self.streams:
            each = self.storage.images[0].nbytes
            self.streams[what, number] = Stream(getattr(self.split, what), self.seed, number, WINDOW // each,
                                                max(1, BLOCK // each))
        return self.streams[what, number]

    def _rows(self, what: str, number: int, position: int, count: int) -> Tensor:
        """Rows of the walk on the device, to which those of the next batches are sent with them: int64 [count]."""
        first, rows = self.sent.get((what, number), (0, self.labels[:0]))
        if not first <= position <= first + len(rows) - count:
            first, rows = position, to_device(self._stream(what, number).take(position, AHEAD * count), self.device)
            self.sent[what, number] = first, rows
        return rows[position - first:position - first + count]

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.storage.gather(rows), self.labels[rows]

    def _read(self, what: str, number: int, position: int, count: int) -> tuple[Tensor, Tensor]:
        """What `take` gives, from elsewhere than the device."""
        stream = self._stream(what, number)
        rows = stream.take(position, count)
        if self.storage.place == "disk" and len(rows):
            window = stream.at(position)[0]
            if window != self.windows.get((what, number)):
                self.storage.read_ahead(stream.rows_of(window + 1))
                self.windows[what, number] = window
        torch.cuda.set_stream(self.cuda_stream)
        return self.storage.take(rows), self.labels[to_device(rows, self.device)]

    def fetch(self, player: int, position: int, labelled: bool = True) -> list[Tensor]:
        """What `batch` makes a batch of, for that player's update number `position`: images and labels of labelled (if
        asked for) and unlabelled ones, the images still bytes; or where they lie on the device their rows alone."""
        size, found = self.batch_size, []
        for what, number in [("labelled", LABELLED)] * labelled + [("pool", 1 + player)]:
            place = what, number, position * size, size
            found += [self._rows(*place)] if self.worker is None else self._next(*place)
        return found

    def images(self, fetched: Sequence[Tensor]) -> Sequence[Tensor]:
        """x_lab, y_lab, x_unl, y_unl, the images still bytes, of what was fetched."""
        found = fetched if self.worker else [part for rows in fetched for part in self._gather(rows)]
        return found if len(found) == 4 else [*(part[:0] for part in found), *found]

    def batch(self, fetched: Sequence[Tensor], step: Tensor, z: Tensor | None) -> Batch:
        """What was fetched, augmented and as the networks see it."""
        x_lab, y_lab, x_unl, y_unl = self.images(fetched)
        kinds = (x_lab, x_unl, x_unl) if self.second_view else (x_lab, x_unl)
        x_lab, x_unl, *again = (self.pixels.from_bytes(self.augment(x)) for x in kinds)
        return Batch(x_lab, y_lab, x_unl, y_unl, z, step, *again)
