"""The data sets by name: where their files lie upstream, and how they become arrays.

    DATASETS["MNIST"].build(folder)   # raw files -> Arrays
    load("mnist", Path("datasets"))   # datasets/mnist/data.h5 -> Data; Digits and Circles need no file
"""
import glob
import math
import os
import re
from pathlib import Path

import numpy as np

from config import Spec, UserError, nearest
from datasets import cifar10, circles, digits, fashion, h5, mnist, svhn
from datasets.h5 import Arrays, Data
from datasets.source import File, Source

__all__ = ["DATASETS", "Arrays", "Data", "File", "Source", "batch_at_hand", "home", "labels_at_hand", "load", "named",
           "path", "published", "spec"]

DATASETS = {module.SOURCE.name: module.SOURCE for module in (digits, circles, mnist, fashion, svhn, cifar10)}


def path(name: str, data_dir: Path) -> Path:
    """Where the data set lies or will lie: data_dir/<name in lower case>/data.h5."""
    if not re.fullmatch(h5.NAME, name):
        raise UserError(f"--dataset: {name!r} is not a name of letters, digits, '_', '.' and '-'")
    return Path(data_dir) / name.lower() / "data.h5"


def home(name: str, data_dir: Path) -> Path:
    """Where the file of the data set of that name, in any case, lies or will lie. UserError if there is none."""
    known = _resolve(name, data_dir)
    return known if isinstance(known, Path) else path(known.name, data_dir)


def published(name: str) -> bool:
    """Whether a data set of the registry has that name, in any case."""
    return name.lower() in {known.lower() for known in DATASETS}


def load(name: str, data_dir: Path, budget: float = math.inf) -> Data:
    """The data set of that name, in any case, checked; UserError if there is none or its file is not sound. Training
    images of more than `budget` bytes stay in the file (`h5.read`)."""
    known = _resolve(name, data_dir)
    if isinstance(known, Path):
        data = h5.read(known, budget)
        return data._replace(spec=named(data.spec, known))
    if known.embedded:
        return h5.pack(known.build(), known.name, known.class_names, known.origin)
    where = path(known.name, data_dir)
    if not os.path.exists(where):  # unlike Path.exists, it takes a folder that cannot be entered
        raise UserError(f"{where}: {known.name} is not there; get it with\n"
                        f"python download.py --dataset {known.name} --data_dir {data_dir}")
    data = h5.read(where, budget)
    if data.spec != known.spec:
        raise UserError(f"{where}: holds {tuple(data.spec)}, but {known.name} is {tuple(known.spec)}; "
                        "give a data set of your own a folder of another name")
    return data


def spec(name: str, data_dir: Path) -> Spec:
    """Name, shape and number of classes; a set of the registry need not be downloaded for that."""
    known = _resolve(name, data_dir)
    return named(h5.read_spec(known), known) if isinstance(known, Path) else known.spec


def labels_at_hand(name: str, data_dir: Path, usual: int, share: float = 1.0) -> int:
    """A number of labelled images to begin with, the same of each class: the usual one; of a set of the user's own not
    more than that share of what it has, and all of that if there are unlabelled images beside them."""
    known = _resolve(name, data_dir)
    if not isinstance(known, Path):
        return usual
    labels, classes = h5.read_labels(known)
    each = int(share * np.bincount(labels[labels >= 0], minlength=classes).min(initial=len(labels)))
    return (classes * (each if (labels < 0).any() else min(usual // max(1, classes), each))) or usual


def batch_at_hand(name: str, data_dir: Path, usual: int) -> int:
    """A batch size to begin with: the usual one; of a set of the user's own that has too few training images for it (a
    fifth of which can be validation images) a fifth of these."""
    known = _resolve(name, data_dir)
    if not isinstance(known, Path):
        return usual
    count = len(h5.read_labels(known)[0])
    return usual if usual <= 0.8 * count else max(2, count // 5)


def named(spec: Spec, file: Path) -> Spec:
    """A set of the user's own goes by a name under which it is found again: that of its folder."""
    return spec if spec.name.lower() == file.parent.name.lower() else spec._replace(name=file.parent.name)


def _resolve(name: str, data_dir: Path) -> Source | Path:
    """The entry of the registry, or else the data.h5 in a folder of the user's own."""
    folders = {Path(file).parent.name for file in glob.glob("*/data.h5", root_dir=data_dir)}
    own = {folder: Path(data_dir) / folder / "data.h5" for folder in sorted(folders - {n.lower() for n in DATASETS})}
    found = nearest(name, (*own, *DATASETS), "--dataset")  # the registry wins over a folder of the same name
    return DATASETS.get(found) or own[found]
