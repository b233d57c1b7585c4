"""Images to label next, and their labels taken in."""
import dataclasses
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch

import datasets
from config import Config, UserError
from datasets import files, h5, labelling
from datasets import suggest as choice
from engine import command, figures, world


def suggest(settings: Any) -> None:
    """--suggest of download.py: ask for the labels of the images where they would help most."""
    if len(settings.dataset) != 1:
        raise UserError(f"--suggest {settings.suggest}: name one data set with --dataset")
    data = datasets.load(settings.dataset[0], settings.data_dir, _budget())
    features = choice.plain_features(data.arrays.train_image, settings.seed)
    folder = datasets.home(data.spec.name, settings.data_dir).parent
    ask(folder, data, folder, features, np.empty(0, np.int64), settings.suggest, settings.seed)


def take_in(settings: Any) -> None:
    """--labels of download.py: put a table of labels into a data set."""
    name = settings.dataset[0] if len(settings.dataset) == 1 else ""
    if not name or datasets.published(name):
        raise UserError(f"--labels {settings.labels}: name a data set of your own with --dataset; found "
                        f"{' '.join(settings.dataset) or 'no name'}"
                        f"{', whose labels are all there' if name else ''}")
    target, table = datasets.home(name, settings.data_dir), Path(settings.labels)
    if not table.exists():
        raise UserError(f"--labels {table}: no such file; --suggest writes suggest.csv where labels are missing, and "
                        "suggest.txt, for --labelled of trainer.py, where all are there")
    data, new, corrected, added, dropped = labelling.take_in(target, table, _budget())
    data = data._replace(spec=datasets.named(data.spec, target))
    labels, names = data.arrays.train_label, data.class_names
    print(f"{target}: {new} new labels, {corrected} corrected; {(labels >= 0).sum()} of {len(labels)} training images "
          f"have one, in {len(names)} classes. Train on all of them with:\n"
          + _command("trainer", data, target.parent.parent, "--labelled", "all"))
    if dropped:
        print(f"Classes of which no image is left, taken out: {', '.join(dropped)}")
    if added:
        near = [f"{name} (near to {other})" if (other := labelling.alike(name, names)) else name for name in added]
        print(f"Classes that are new, of which there is no test image: {', '.join(near)}. If one is misspelt, correct "
              f"the table and take it in again")


def _budget() -> int:
    return world.image_budget(torch.device("cpu"))


def ask(folder: Path, data: h5.Data, home: Path, features: np.ndarray, known: np.ndarray, count: int, seed: int,
        cfg: Config | None = None) -> None:
    """Write suggest.png with `count` of the training images of the data set in `home`, chosen by their features [N, F],
    and suggest.csv for their labels. The rows `known` and those that have a label are labelled already; but where all
    have one, these are there to be hidden: `known` alone counts, and suggest.txt gets the numbers of all these rows.
    Print the paths and what to do next, in training by those settings. UserError if there are not so many images, or a
    table is there whose labels would be lost."""
    images, have = data.arrays.train_image, data.arrays.train_label >= 0
    if not (every := bool(have.all())):
        known = np.union1d(known, np.flatnonzero(have))
    if not data.spec.classes:
        raise UserError(f"--suggest {count}: {data.spec.name} has no classes, so that it takes no labels; make it "
                        "again with some of each class")
    if count > len(images) - len(known):
        raise UserError(f"--suggest {count}: only {len(images) - len(known)} training images are left to suggest; "
                        "ask for no more")
    rows = choice.typical(features, known, count, seed)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / ("suggest.txt" if every else "suggest.csv")
    title = f"{'' if every else 'write the class of each row into suggest.csv, '}the most valuable first"
    try:
        with files.whole(folder / "suggest.png") as new:  # there with the table, or not at all
            if data.spec.points:
                figures.places(new, images, rows, title)
            else:
                figures.sheet(new, images[rows], [f"row {row}" for row in rows], title)
            if every:
                labelling.write_rows(table, [*known.tolist(), *rows.tolist()])
            else:
                labelling.ask(table, rows.tolist(), data, labelling.by_row(home / labelling.FILES))
    except OSError as error:
        raise UserError(f"{folder / 'suggest.png'}: cannot be written ({error.strerror})") from None
    words, script, flag = (
        (f"Every training image has a label. To train with those of these rows alone ({len(known)} known, {len(rows)} "
         "new):", "trainer", "labelled") if every else ("Fill in the classes, then:", "download", "labels"))
    following = (command.line(dataclasses.replace(cfg, labelled=str(table), data_dir=home.parent), data.spec)
                 if every and cfg else _command(script, data, home.parent, f"--{flag}", table))
    print(table, folder / "suggest.png", words, following, sep="\n")


def _command(script: str, data: h5.Data, data_dir: Path, *words: Any) -> str:
    """A command line on the data set, to be copied."""
    where = [] if data_dir == Config.data_dir else ["--data_dir", str(data_dir)]
    return shlex.join(["python", f"{script}.py", "--dataset", data.spec.name, *where, *map(str, words)])
