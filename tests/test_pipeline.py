"""From arrays to batches."""
import numpy as np
import torch

from datasets.pipeline import LABELLED, Pipeline
from datasets.splits import Split
from datasets.stream import Stream
from ops import Pixels

RNG = np.random.RandomState(0)
IMAGES, LABELS = RNG.randint(0, 256, (20, 5, 4, 3)).astype(np.uint8), np.arange(20) % 4
SPLIT = Split(np.array([0, 1, 2, 3]), np.array([19]), np.arange(19))


def pipeline():
    return Pipeline(IMAGES, LABELS, SPLIT, Pixels(127.5, 127.5), 4, 7, torch.device("cpu"))


def test_pixels_and_labels_are_those_of_the_rows():
    batch = pipeline().batch(1, 3, None, 3)
    unlabelled, labelled = Stream(SPLIT.pool, 7, 2).take(12, 4), Stream(SPLIT.labelled, 7, LABELLED).take(12, 4)
    for images, rows in ((batch.x_unl, unlabelled), (batch.x_lab, labelled)):
        expected = (IMAGES[rows].astype(np.float64) - 127.5) / 127.5
        np.testing.assert_allclose(images.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)
    assert batch.y_lab.tolist() == LABELS[labelled].tolist()
    assert batch.step.item() == 3


def test_validation_rows_and_hidden_labels_are_never_drawn():
    ours = pipeline()
    assert ours.labels.tolist() == [0, 1, 2, 3] + [-1] * 16
    drawn = {tuple(image.flatten().tolist()) for i in range(40) for image in ours.batch(0, i, None, i).x_unl}
    assert len(drawn) == 19
