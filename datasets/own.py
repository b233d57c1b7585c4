"""Data of the user's own, made into a data set."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import datasets
from config import UserError
from datasets import convert, files, folder, h5, labelling, zoo
from datasets.layout import shown

NAMED = 10  # classes at most
FEW = 50  # test images, of which each is two points of an accuracy


def make(settings: Any, how: str) -> None:
    """Write the data set from --from_folder, --from_file or --from_torchvision. UserError if it is there already."""
    name = _name(settings)
    target = datasets.path(name, settings.data_dir)
    with files.data_set(target):
        data = _made(target, name, settings, how)
    labels, (height, width, channels) = data.arrays.train_label, data.spec.shape
    print(f"{data.spec.name}: {target} is made: {len(labels)} train ({(labels < 0).sum()} of them unlabelled) and "
          f"{len(data.arrays.test_label)} test images of {height} x {width} x {channels}, {data.spec.classes} classes"
          f"{f' ({_some(data.class_names)})' if data.class_names else ''}; {data.source}", flush=True)
    if data.class_names and len(data.arrays.test_label) < FEW:
        print(f"Only {len(data.arrays.test_label)} test images: each is {100 / len(data.arrays.test_label):.1f} "
              "percentage points of the accuracy; more images would measure it more finely", flush=True)
    untested = [name for k, name in enumerate(data.class_names) if k not in data.arrays.test_label]
    if untested:
        print(f"No test image is of {_some(untested)}: the test accuracy says nothing of these classes", flush=True)


def _made(target: Path, name: str, settings: Any, how: str) -> h5.Data:
    """The data set, written, unless it is there already."""
    if target.exists():
        raise UserError(f"{target}: is already there; delete it, or give the new data set another name")
    former = labelling.listing(target.parent)  # of a data set that was deleted
    if how == "from_folder":  # which writes a new one
        return folder.make(target, name, settings)
    former.unlink(missing_ok=True)
    return (_from_file if how == "from_file" else zoo.make)(target, name, settings)


def _some(names: Sequence[str]) -> str:
    """The first of the names."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _name(settings: Any) -> str:
    if len(settings.dataset) != 1 or datasets.published(settings.dataset[0]):
        raise UserError("--dataset: name the new data set, by one name that is none of "
                        f"{', '.join(datasets.DATASETS)}; found {' '.join(settings.dataset) or 'no name'}")
    return settings.dataset[0]


def _from_file(target: Path, name: str, settings: Any) -> h5.Data:
    path = Path(settings.from_file)
    found = convert.read(path)
    train, test, how = found.train, found.test, "test images from the file"
    if test is None:
        train, test, how = convert.divided(train, settings.test_share, settings.seed)
    if not found.classes:
        test = test._replace(labels=np.full(len(test.images), -1))
    what = f"--from_file {path}"
    train, copies = convert.apart(train, test, what)
    train, test, classes = convert.trained_classes(train, test, what)
    if doubtful := convert.doubtful(train):
        print(f"{what}: {doubtful} training images also stand under another class", flush=True)
    arrays = h5.Arrays(*train, *test)
    if settings.transposed:
        arrays = arrays._replace(train_image=train.images.swapaxes(1, 2), test_image=test.images.swapaxes(1, 2))
    source = f"{shown(path.name)}; {how}{f'; {copies} training images that are test images left out' if copies else ''}"
    try:
        return h5.write(target, arrays, name, [str(k) for k in classes], source)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
