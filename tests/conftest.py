"""Small real-format data sets that every test may train on, and short runs that every test may evaluate."""
import contextlib
import dataclasses
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import datasets
import recipes
import trainer
from datasets import h5
from engine import run as engine_run
from engine import use

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


def write_odd(folder, shape=(8, 8, 1), classes=3, seed=0):
    """A data set of odd numbers, named "toy", in that folder of data sets."""
    arrays = toy_arrays(shape, classes, train=42, test=23, seed=seed)
    return h5.write(datasets.path("toy", folder), arrays, "toy", [f"kind {k}" for k in range(classes)], "made up")


@pytest.fixture
def closed(monkeypatch):
    """closed(name): from then on no folder of that name can be looked into, not even by root."""
    scan = os.scandir

    def close(name):
        def scandir(path):
            if os.path.basename(str(path)) == name:  # of a number, too, which rmtree gives
                raise PermissionError(13, "Permission denied", path)
            return scan(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return close


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder with the toy data sets in it."""
    folder = tmp_path_factory.mktemp("datasets")
    for name, shape in TOYS.items():
        h5.write(datasets.path(name, folder), toy_arrays(shape), name, tuple("abcd"), "made by the tests")
    return folder


@pytest.fixture
def settings(data_dir, tmp_path, monkeypatch):
    """settings(recipe, dataset, **changes) -> Config for a short run on a toy data set."""
    # A pass of 500 images through the wider nets takes longer than what most tests do with them.
    monkeypatch.setattr(engine_run, "INIT_IMAGES", 100)

    def make(recipe="improved-gan", dataset="Grey8", **changes):
        found = recipes.find(recipe)
        cfg = recipes.defaults(found, datasets.spec(dataset, data_dir))
        small = {"labels": 8 if found.classifies else 0, "batch_size": 8, "steps": 6, "device": "cpu",
                 "data_dir": data_dir, "train_dir": tmp_path / "train_dir"}
        return dataclasses.replace(cfg, **{**small, **changes})

    return make


@pytest.fixture
def build(settings):
    """build(recipe, dataset, **changes) -> Run."""
    return lambda *args, **changes: engine_run.build(settings(*args, **changes))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A train_dir with four short runs by prefix: gan, alone and free (without labels) on Digits, toy on a data set of
    its own; and what the trainer printed of each."""
    base = tmp_path_factory.mktemp("trained")
    write_odd(base / "datasets")
    every = ["--eval_every=10", "--save_every=10", "--average=0.99", f"--train_dir={base / 'runs'}"]
    own = ["--dataset=toy", f"--data_dir={base / 'datasets'}", "--labels=6", "--batch_size=6"]
    said = {}
    for name, flags in {"gan": ["--steps=30", "--validation=50", "--learning_rate_d=0.03", "--sample_every=10"],
                        "alone": ["--recipe=supervised", "--steps=20"],
                        "free": ["--recipe=dcgan", "--steps=20", "--sample_every=10"],
                        "toy": [*own, "--steps=2"]}.items():
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert trainer.main([*flags, *every, f"--prefix={name}"]) == 0
        said[name] = out.getvalue()
    return base / "runs", said


def copy(source, target):
    """Large files are linked: a test that changes one makes a new file in place of the link."""
    (os.link if source.endswith(".pt") else shutil.copy2)(source, target)


@pytest.fixture
def pictured(trained, tmp_path, monkeypatch):
    """Copies of the runs, by prefix; the working folder is their parent's."""
    shutil.copytree(trained[0], tmp_path / "runs", copy_function=copy)
    shutil.copytree(trained[0].parent / "datasets", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    yield {path.name.partition("-")[0]: path for path in Path("runs").glob("*-*")}
    shutil.rmtree(tmp_path / "runs")


@pytest.fixture
def runs(pictured, monkeypatch):
    """The same without the pictures, which take seconds."""
    monkeypatch.setattr(use, "draw", lambda *args: [])
    return pictured
