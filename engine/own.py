"""Data of the user's own: made into a data set, and labelled little by little; images to label next."""
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import datasets
from config import Config, UserError
from datasets import convert, files, folder, h5, labelling, suggest, zoo
from datasets.layout import shown
from engine import figures

NAMED = 10  # classes at most


def make(settings: Any, how: str) -> None:
    """Write the data set from --from_folder, --from_file or --from_torchvision. UserError if it is there already."""
    name = _name(settings)
    target = datasets.path(name, settings.data_dir)
    if target.exists():
        raise UserError(f"{target}: is already there; delete it, or give the new data set another name")
    former = labelling.listing(target.parent)  # of a data set that was deleted
    data = {"from_folder": folder.make, "from_file": _from_file, "from_torchvision": zoo.make}[how](target, name,
                                                                                                     settings)
    if how != "from_folder":  # which writes a new one
        former.unlink(missing_ok=True)
    labels, (height, width, channels) = data.arrays.train_label, data.spec.shape
    print(f"{data.spec.name}: {target} is made: {len(labels)} train ({(labels < 0).sum()} of them unlabelled) and "
          f"{len(data.arrays.test_label)} test images of {height} x {width} x {channels}, {data.spec.classes} classes"
          f"{f' ({_some(data.class_names)})' if data.class_names else ''}; {data.source}", flush=True)
    untested = [name for k, name in enumerate(data.class_names) if k not in data.arrays.test_label]
    if untested:
        print(f"No test image is of {_some(untested)}: no accuracy tells of that", flush=True)


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
    arrays = h5.Arrays(*train, *test)
    if settings.transposed:
        arrays = arrays._replace(train_image=train.images.swapaxes(1, 2), test_image=test.images.swapaxes(1, 2))
    source = f"{shown(path.name)}; {how}{f'; {copies} training images that are test images left out' if copies else ''}"
    with files.folder_of(target):
        return h5.write(target, arrays, name, [str(k) for k in classes], source)


def label(settings: Any, how: str) -> None:
    """--suggest: ask for the labels of the images where they would help most; --labels: take a table of labels in."""
    if how == "labels":
        name = settings.dataset[0] if len(settings.dataset) == 1 else ""
        if not name or datasets.published(name):
            raise UserError(f"--labels {settings.labels}: name a data set of your own with --dataset; found "
                            f"{' '.join(settings.dataset) or 'no name'}"
                            f"{', whose labels are all there' if name else ''}")
        _take_in(datasets.home(name, settings.data_dir), Path(settings.labels))
        return
    if len(settings.dataset) != 1:
        raise UserError(f"--suggest {settings.suggest}: name one data set with --dataset")
    data = datasets.load(settings.dataset[0], settings.data_dir)
    features = suggest.plain_features(data.arrays.train_image, settings.seed)
    folder = datasets.home(data.spec.name, settings.data_dir).parent
    ask(folder, data, folder, features, np.empty(0, np.int64), settings.suggest, settings.seed)


def _take_in(target: Path, table: Path) -> None:
    if not table.exists():
        raise UserError(f"--labels {table}: no such file; --suggest writes suggest.csv where labels are missing, and "
                        "suggest.txt, for --labelled of trainer.py, where all are there")
    data, new, corrected, added, dropped = labelling.take_in(target, table)
    labels, names = data.arrays.train_label, data.class_names
    print(f"{target}: {new} new labels, {corrected} corrected; {(labels >= 0).sum()} of {len(labels)} training images "
          f"have one, in {len(names)} classes. Train on all of them with:\n"
          + _command("trainer", data, target.parent.parent, "labelled", "all"))
    if dropped:
        print(f"Classes of which no image is left, taken out: {', '.join(dropped)}")
    if added:
        near = [f"{name} (near to {other})" if (other := labelling.alike(name, names)) else name for name in added]
        print(f"Classes that are new, of which there is no test image: {', '.join(near)}. If one is misspelt, correct "
              f"the table and take it in again")


def ask(folder: Path, data: h5.Data, home: Path, features: np.ndarray, known: np.ndarray, count: int,
        seed: int) -> None:
    """Write suggest.png with `count` of the training images of the data set in `home`, chosen by their features [N, F],
    and suggest.csv for their labels. The rows `known` and those that have a label are labelled already; but where all
    have one, these are there to be hidden: `known` alone counts, and suggest.txt gets the numbers of all these rows.
    Print the paths. UserError if there are not so many images, or a table is there whose labels would be lost."""
    images, have = data.arrays.train_image, data.arrays.train_label >= 0
    if not (every := bool(have.all())):
        known = np.union1d(known, np.flatnonzero(have))
    if not data.spec.classes:
        raise UserError(f"--suggest {count}: {data.spec.name} has no classes, so that it takes no labels; make it "
                        "again with some of each class")
    if count > len(images) - len(known):
        raise UserError(f"--suggest {count}: training images without a label: {len(images) - len(known)}")
    rows = suggest.typical(features, known, count, seed)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / ("suggest.txt" if every else "suggest.csv")
    title = f"{'' if every else 'write the class of each row into suggest.csv, '}the most valuable first"
    try:
        with files.whole(folder / "suggest.png") as new:  # there with the table, or not at all
            figures.sheet(new, images[rows], [f"row {row}" for row in rows], title)
            if every:
                labelling.write_rows(table, [*known.tolist(), *rows.tolist()])
            else:
                labelling.ask(table, rows.tolist(), data, labelling.by_row(home / labelling.FILES))
    except OSError as error:
        raise UserError(f"{folder / 'suggest.png'}: cannot be written ({error.strerror})") from None
    words, script, flag = (("All labels are there. Train with those of these rows:", "trainer", "labelled")
                           if every else ("Fill in the classes, then:", "download", "labels"))
    print(table, folder / "suggest.png", words, _command(script, data, home.parent, flag, table), sep="\n")


def _command(script: str, data: h5.Data, data_dir: Path, flag: str, value: Any) -> str:
    """A command line on the data set, to be copied."""
    where = [] if data_dir == Config.data_dir else ["--data_dir", str(data_dir)]
    return shlex.join(["python", f"{script}.py", "--dataset", data.spec.name, *where, f"--{flag}", str(value)])
