"""Circles: 2,000 + 1,000 points of the plane on two concentric rings, made here from a fixed seed (no file, no
download). The ring is the class: what the picture of a semi-supervised method shows best.

A point is an image of 1 x 2 pixels, its x and its y: the byte 255 * (v + SIDE) / (2 * SIDE), rounded.
"""
from pathlib import Path

import numpy as np

from datasets.h5 import Arrays
from datasets.source import Source

RADII = 0.5, 1.0
SPREAD = 0.07  # deviation of a point from its ring, along each axis
SIDE = 1.5  # the bytes reach from -SIDE to SIDE
TRAIN, TEST = 2000, 1000


def build(_folder: Path | None = None) -> Arrays:
    """[N, 1, 2, 1]; as many points of each ring, in random order."""
    random = np.random.RandomState(0)  # its stream is frozen by numpy

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        ring = random.permutation(np.arange(count) % 2).astype(np.int64)
        angle = random.uniform(0, 2 * np.pi, count)
        point = np.array(RADII)[ring, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        point += random.normal(0, SPREAD, point.shape)
        return np.rint((point + SIDE) * (255 / (2 * SIDE))).clip(0, 255).astype(np.uint8).reshape(-1, 1, 2, 1), ring

    return Arrays(*part(TRAIN), *part(TEST))


SOURCE = Source("Circles", (1, 2, 1), ("inner", "outer"), "two rings in the plane, made from a formula", build,
                upstream=None)
