"""Data of the user's own: made into a data set, and labelled little by little; images to label next."""
from pathlib import Path
from typing import Any

import numpy as np

import datasets
from config import UserError
from datasets import convert, folder, h5, labelling, suggest, zoo
from engine import figures


def make(settings: Any, how: str) -> None:
    """Write the data set from --from_folder, --from_file or --from_torchvision. UserError if it is there already."""
    name = _name(settings)
    target = datasets.path(name, settings.data_dir)
    if target.exists():
        raise UserError(f"{target}: is already there; delete it, or give the new data set another name")
    data = {"from_folder": folder.make, "from_file": _from_file, "from_torchvision": zoo.make}[how](target, name,
                                                                                                     settings)
    labels, (height, width, channels) = data.arrays.train_label, data.spec.shape
    print(f"{data.spec.name}: {target} is made: {len(labels)} train ({(labels < 0).sum()} of them unlabelled) and "
          f"{len(data.arrays.test_label)} test images of {height} x {width} x {channels}, {data.spec.classes} classes; "
          f"{data.source}", flush=True)


def _name(settings: Any) -> str:
    if len(settings.dataset) != 1 or settings.dataset[0].lower() in {name.lower() for name in datasets.DATASETS}:
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
    arrays = h5.Arrays(*train, *test)
    if settings.transposed:
        arrays = arrays._replace(train_image=train.images.swapaxes(1, 2), test_image=test.images.swapaxes(1, 2))
    return h5.write(target, arrays, name, [str(k) for k in range(found.classes)], f"{path.name}; {how}")


def label(settings: Any, how: str) -> None:
    """--suggest: ask for the labels of the images where they would help most; --labels: take a table of labels in."""
    if how == "labels":
        _take_in(datasets.path(_name(settings), settings.data_dir), Path(settings.labels))
        return
    if len(settings.dataset) != 1:
        raise UserError(f"--suggest {settings.suggest}: name one data set with --dataset")
    data = datasets.load(settings.dataset[0], settings.data_dir)
    known = np.empty(0, np.int64) if _published(data) else np.flatnonzero(data.arrays.train_label >= 0)
    features = suggest.plain_features(data.arrays.train_image, settings.seed)
    folder = datasets.path(data.spec.name, settings.data_dir).parent
    ask(folder, data, features, known, settings.suggest, settings.seed)


def _published(data: h5.Data) -> bool:
    """Whether the labels of the data set are there to be hidden, so that none counts as known and none is asked for."""
    return data.spec.name in datasets.DATASETS


def _take_in(target: Path, table: Path) -> None:
    data, new, corrected, added, dropped = labelling.take_in(target, table)
    labels, names = data.arrays.train_label, data.class_names
    print(f"{target}: {new} new labels, {corrected} corrected; {(labels >= 0).sum()} of {len(labels)} training images "
          f"have one, in {len(names)} classes. Train on all of them with:\n"
          f"python trainer.py --dataset {data.spec.name} --labelled all")
    if dropped:
        print(f"Classes of which no image is left, taken out: {', '.join(dropped)}")
    if added:
        near = [f"{name} (near to {other})" if (other := labelling.alike(name, names)) else name for name in added]
        print(f"Classes that are new, of which there is no test image: {', '.join(near)}. If one is misspelt, correct "
              f"the table and take it in again")


def ask(folder: Path, data: h5.Data, features: np.ndarray, known: np.ndarray, count: int, seed: int) -> None:
    """Write suggest.png with `count` of the training images, chosen by their features [N, F] (those of the rows `known`
    are labelled already), and suggest.csv for their labels; of a published set suggest.txt, with the numbers of all
    these rows. Print the paths. UserError if there are not so many images, or a table is there already."""
    images = data.arrays.train_image
    if count > len(images) - len(known):
        raise UserError(f"--suggest {count}: only {len(images) - len(known)} training images have no label")
    rows = suggest.typical(features, known, count, seed)
    folder.mkdir(parents=True, exist_ok=True)
    title, told = "the most valuable first", [folder / "suggest.png"]
    if _published(data):
        table = folder / "suggest.txt"
        labelling.write_rows(table, [*known.tolist(), *rows.tolist()])
        told.append(f"All labels are there. Train with those of these rows:\n"
                    f"python trainer.py --dataset {data.spec.name} --labelled {table}")
    else:
        table = folder / "suggest.csv"
        labelling.ask(table, rows.tolist())
        title = f"write the class of each row into suggest.csv, {title}"
    figures.sheet(folder / "suggest.png", images[rows], [f"row {row}" for row in rows], title)
    print(table, *told, sep="\n")
