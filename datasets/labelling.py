"""Labels of the user's own: a table of images to label, to be filled in, and how it enters data.h5.

    row,label        row: number of the training image, from 0;  label: name of its class, empty while it is not known
"""
import csv
from collections.abc import Iterable
from pathlib import Path

from config import UserError
from datasets import h5

COLUMNS = ["row", "label"]


def ask(path: Path, rows: Iterable[int]) -> None:
    """Write a table of those rows without labels. UserError if there is one already: it may have been filled in."""
    try:
        with open(path, "x", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows([row, ""] for row in rows)
    except FileExistsError:
        raise UserError(f"{path}: is there already; take its labels in (download.py --labels {path}), or delete it"
                        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def answers(path: Path) -> dict[int, str]:
    """The class names that a table holds by row; rows without one are left out. UserError where it is no such table."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise UserError(f"--labels {path}: its first line is {','.join(reader.fieldnames or ['empty'])}; it "
                                f"must name the columns {','.join(COLUMNS)}")
            given: dict[int, str] = {}
            for number, line in enumerate(reader, 2):
                label, row = (line["label"] or "").strip(), (line["row"] or "").strip()
                if not row.isascii() or not row.isdigit():
                    raise UserError(f"--labels {path}, line {number}: row {row!r} is no number")
                if label and given.setdefault(int(row), label) != label:
                    raise UserError(f"--labels {path}, line {number}: row {row} is {given[int(row)]!r} and {label!r}")
    except OSError as error:
        raise UserError(f"--labels {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--labels {path}: no CSV table in UTF-8 ({error})") from None
    if not given:
        raise UserError(f"--labels {path}: no label is filled in yet")
    return given


def take_in(target: Path, table: Path) -> tuple[h5.Data, int, list[str]]:
    """Put the labels of the table into the data.h5 `target`, whole or not at all; classes that are new are added.
    Returns what the file now holds, how many labels were new, and the new classes. UserError for a row that there is
    not, or one that has another label already."""
    data, given = h5.read(target), answers(table)
    if not data.spec.classes:
        raise UserError(f"--labels {table}: the test images of {target} have no labels, so that nothing could be "
                        "measured.\nMake the data set again with some labels of each class: --from_folder and a table "
                        "of files, or y in --from_file (-1: none)")
    names, labels = list(data.class_names), data.arrays.train_label.copy()
    new = 0
    for row, name in sorted(given.items()):
        if row >= len(labels):
            raise UserError(f"--labels {table}: row {row}, but {target} has training images 0 to {len(labels) - 1}")
        if name not in names:
            names.append(name)
        if labels[row] not in (-1, names.index(name)):
            raise UserError(f"--labels {table}: row {row} is {name!r}, but {target} has {names[labels[row]]!r} for it")
        new += labels[row] < 0
        labels[row] = names.index(name)
    if not new:
        return data, 0, []
    arrays = data.arrays._replace(train_label=labels)
    written = h5.write(target, arrays, data.spec.name, names, data.source, data.resize)
    return written, int(new), names[data.spec.classes:]

