"""Where the training images lie while a run draws from them: on the device, in the host's memory, or in their file."""
import mmap
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

WINDOW = 256 << 20  # bytes of images among which the order is a full shuffle, and which are read ahead
BLOCK = 2 << 20  # bytes of consecutive images that are read together


def to_device(rows: np.ndarray, device: torch.device) -> Tensor:
    """Row numbers as a tensor there; the host does not wait for a GPU to have them."""
    index = torch.from_numpy(rows)
    return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index


def current_stream(device: torch.device) -> torch.cuda.Stream | None:
    """For `torch.cuda.stream` in another thread, whose work on a GPU is to follow what is asked for here; None, with
    which that does nothing, on a CPU."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


class Storage:
    """Images by row. The order of the rows (`Stream`) depends on their number and size, never on the place."""

    def __init__(self, images: np.ndarray, place: str, device: torch.device):
        self.images, self.place, self.device = images, place, device
        with warnings.catch_warnings(action="ignore"):  # a mapped file cannot be written, which nobody tries
            tensor = torch.from_numpy(images)
        self.tensor = tensor.to(device) if place == "device" else tensor

    def take(self, rows: np.ndarray) -> Tensor:
        """uint8 [n, C, H, W] on the device, channels_last, in which convolutions are several times as fast on a
        CPU."""
        if self.tensor.device.type == self.device.type:
            return self.gather(to_device(rows, self.device))
        # Gathered in pinned memory, from which they are copied while the device computes.
        pinned = torch.empty((len(rows), *self.tensor.shape[1:]), dtype=torch.uint8, pin_memory=True)
        torch.index_select(self.tensor, 0, torch.from_numpy(rows), out=pinned)
        return pinned.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def gather(self, rows: Tensor) -> Tensor:
        """The same where rows and images both lie on the device."""
        return self.tensor.index_select(0, rows).permute(0, 3, 1, 2)

    def read_ahead(self, rows: np.ndarray) -> None:
        """Ask the disk for rows that are wanted soon."""
        self._advise(rows, mmap.MADV_WILLNEED)

    def forget(self, rows: np.ndarray) -> None:
        """Give back the memory of rows that are done with (the system's cache may keep them)."""
        self._advise(rows, mmap.MADV_DONTNEED)

    def _advise(self, rows: np.ndarray, advice: int) -> None:
        if not hasattr(mmap.mmap, "madvise"):
            return
        for start, length in self._pages(rows):
            self.images.base.madvise(advice, start, length)

    def _pages(self, rows: np.ndarray) -> Iterator[tuple[int, int]]:
        """Start and length in the map of every run of consecutive rows, as whole pages."""
        ends = np.flatnonzero(np.diff(rows) != 1)
        size = self.images[0].nbytes
        base = self.images.offset % mmap.ALLOCATIONGRANULARITY
        for first, last in zip(rows[np.r_[0, ends + 1]], rows[np.r_[ends, len(rows) - 1]], strict=True):
            start = (base + int(first) * size) // mmap.PAGESIZE * mmap.PAGESIZE
            yield start, base + (int(last) + 1) * size - start
