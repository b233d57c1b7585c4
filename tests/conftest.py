"""Small real-format data sets that every test may train on."""
import dataclasses
from pathlib import Path

import numpy as np
import pytest

import datasets
import recipes
from datasets import h5
from engine import run as engine_run

ROOT = Path(__file__).resolve().parents[1]
TOYS = {"Grey8": (8, 8, 1), "Colour16": (16, 16, 3)}


def toy_arrays(shape, classes=4, train=80, test=40, seed=0):
    """Images of `classes` fixed patterns under noise, in random order, classes balanced."""
    rng = np.random.RandomState(seed)
    patterns = rng.randint(0, 256, (classes, *shape))

    def part(n):
        labels = rng.permutation(np.arange(n) % classes).astype(np.int64)
        images = 0.6 * patterns[labels] + 0.4 * rng.randint(0, 256, (n, *shape))
        return images.astype(np.uint8), labels

    return h5.Arrays(*part(train), *part(test))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder with the toy data sets in it."""
    folder = tmp_path_factory.mktemp("datasets")
    for name, shape in TOYS.items():
        h5.write(datasets.path(name, folder), toy_arrays(shape), name, tuple("abcd"), "made by the tests")
    return folder


@pytest.fixture
def settings(data_dir, tmp_path):
    """settings(recipe, dataset, **changes) -> Config for a short run on a toy data set."""

    def make(recipe="improved-gan", dataset="Grey8", **changes):
        found = recipes.find(recipe)
        cfg = recipes.defaults(found, datasets.spec(dataset, data_dir))
        small = {"labels": 8, "batch_size": 8, "steps": 6, "device": "cpu", "data_dir": data_dir,
                 "train_dir": tmp_path / "train_dir"}
        return dataclasses.replace(cfg, **{**small, **changes})

    return make


@pytest.fixture
def build(settings):
    """build(recipe, dataset, **changes) -> Run."""
    return lambda *args, **changes: engine_run.build(settings(*args, **changes))
