"""Where the training images lie while a run draws from them: on the device, in the host's memory, or in their file."""
import errno
import os

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
    """For `torch.cuda.set_stream` in another thread, whose work on a GPU is to follow what is asked for here; on a CPU
    None, with which that does nothing. (`with torch.cuda.stream` would end on GPU 0, and take memory there.)"""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


class Storage:
    """Images by row. The order of the rows (`Stream`) depends on their number and size, never on the place."""

    def __init__(self, images: np.ndarray, place: str, device: torch.device):
        """`images` that stay on the disk are a numpy.memmap. They are read, not mapped, by row: a map of a file that is
        read here and there counts as memory of the process by the megabyte for each image."""
        self.images, self.place, self.device = images, place, device
        self.file = open(images.filename, "rb", buffering=0) if place == "disk" else None  # noqa: SIM115, as long as self
        self.tensor = None if self.file else torch.from_numpy(images).to(device if place == "device" else "cpu")

    def take(self, rows: np.ndarray) -> Tensor:
        """uint8 [n, C, H, W] on the device, channels_last, in which convolutions are several times as fast on a
        CPU."""
        if self.file is None and self.tensor.device.type == self.device.type:
            return self.gather(to_device(rows, self.device))
        # Gathered in pinned memory, from which they are copied while the device computes.
        gathered = torch.empty((len(rows), *self.images.shape[1:]), dtype=torch.uint8,
                               pin_memory=self.device.type == "cuda")
        if self.file:
            self._read(rows, gathered.numpy())
        else:
            torch.index_select(self.tensor, 0, torch.from_numpy(rows), out=gathered)
        return gathered.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def gather(self, rows: Tensor) -> Tensor:
        """The same where rows and images both lie on the device."""
        return self.tensor.index_select(0, rows).permute(0, 3, 1, 2)

    def _read(self, rows: np.ndarray, out: np.ndarray) -> None:
        size = self.images[0].nbytes
        for row, image in zip(rows.tolist(), out, strict=True):
            content = os.pread(self.file.fileno(), size, self.images.offset + row * size)
            if len(content) < size:
                raise OSError(errno.EIO, f"ends before image {row}", self.file.name)
            image.reshape(-1)[:] = np.frombuffer(content, np.uint8)

    def read_ahead(self, rows: np.ndarray) -> None:
        """Ask the disk for rows that are wanted soon."""
        if not hasattr(os, "posix_fadvise"):
            return
        ends, size = np.flatnonzero(np.diff(rows) != 1), self.images[0].nbytes
        for first, last in zip(rows[np.r_[0, ends + 1]], rows[np.r_[ends, len(rows) - 1]], strict=True):
            os.posix_fadvise(self.file.fileno(), self.images.offset + int(first) * size, int(last - first + 1) * size,
                             os.POSIX_FADV_WILLNEED)
