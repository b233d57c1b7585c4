"""From the arrays of a data set to batches on the device.

The training images stay on the device as bytes. Of the labels only those of the labelled rows enter here: the others
cannot reach a loss.
"""
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ops import Pixels

from .splits import Split
from .stream import Stream

LABELLED = 0  # number of the labelled images' stream; players' unlabelled streams count from 1


class Batch(NamedTuple):
    """What one update of one player sees. Each player walks the unlabelled images in an order of its own."""

    x_lab: Tensor  # [B, C, H, W]
    y_lab: Tensor  # [B] int64
    x_unl: Tensor  # [B, C, H, W]
    z: Tensor | None  # [B, n_z]; None where there is no generator
    step: Tensor  # 0-d float32, steps done before this one


class Pipeline:
    """Batches of a data set as a function of (player, position)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, split: Split, pixels: Pixels, batch_size: int, seed: int,
                 device: torch.device):
        # [N, C, H, W] as channels_last, in which convolutions are several times as fast on a CPU.
        self.images = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        self.labels = torch.full((len(images),), -1, device=device)
        rows = torch.from_numpy(split.labelled).to(device)
        self.labels[rows] = torch.from_numpy(labels[split.labelled]).to(device)
        self.split, self.pixels, self.batch_size, self.seed, self.device = split, pixels, batch_size, seed, device
        self.streams: dict[tuple[int, int], Stream] = {}

    def take(self, what: str, number: int, position: int, count: int) -> tuple[Tensor, Tensor]:
        """`count` images [count, C, H, W] and labels [count] from the walk `number` through "labelled" or "pool"."""
        key = (what, number)
        if key not in self.streams:
            self.streams[key] = Stream(getattr(self.split, what), self.seed, number)
        rows = torch.from_numpy(self.streams[key].take(position, count)).to(self.device)
        return self.pixels.from_bytes(self.images[rows]), self.labels[rows]

    def batch(self, player: int, position: int, z: Tensor | None, step: int) -> Batch:
        """The batch of that player's update number `position`."""
        size = self.batch_size
        x_lab, y_lab = self.take("labelled", LABELLED, position * size, size)
        x_unl, _ = self.take("pool", 1 + player, position * size, size)
        return Batch(x_lab, y_lab, x_unl, z, torch.tensor(float(step), device=self.device))
