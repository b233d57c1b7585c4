"""Labels of the user's own: a table of images to label, to be filled in, and how it enters data.h5.

    row,label        row: number of the training image, from 0;  label: name of its class, empty while it is not known

A third column tells for which images the table was made: file, the name of the picture, where the table files.csv
(row,file) beside data.h5 has it, or else image, a mark made of the pixels.
"""
import contextlib
import csv
import difflib
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from config import UserError
from datasets import files, h5

COLUMNS = ["row", "label"]
FILES, LISTING = "files.csv", ["row", "file"]
NO_LABEL = {"nan", "none", "null", "na", "n/a", "<na>", "?", "-", "unlabelled", "unlabeled"}
ALIKE = 0.8  # difflib's share of the letters of two names


def ask(path: Path, rows: Iterable[int], data: h5.Data, files: Mapping[int, str]) -> None:
    """Write a table of those rows without labels, with the files that are known. UserError if there is one already with
    labels that `data` does not hold: they would be lost."""
    if path.exists() and not _is_in(path, data):
        raise UserError(f"{path}: is already there, and {data.spec.name} does not hold its labels; take them in "
                        f"(download.py --dataset {data.spec.name} --labels {path}), or delete it")
    told = (lambda row: files.get(row, "")) if files else (lambda row: mark(data.arrays.train_image[row]))
    _new(path, [[*COLUMNS, "file" if files else "image"], *([row, "", told(row)] for row in rows)])


def _is_in(path: Path, data: h5.Data) -> bool:
    """Whether the file is a table all of whose labels are those of the data set."""
    now = {row: data.class_names[k] for row, k in enumerate(data.arrays.train_label) if k >= 0}
    with contextlib.suppress(UserError):
        return all(now.get(row) == label for row, label in _filled_in(path).items())
    return False


def write_rows(path: Path, rows: Iterable[int]) -> None:
    """Write a file of row numbers, as trainer.py takes it by --labelled. UserError if there is one already."""
    if path.exists():
        raise UserError(f"{path}: is already there; delete it, or name it to trainer.py --labelled")
    _new(path, ([row] for row in rows))


def write_files(path: Path, names: Iterable[str]) -> None:
    """Write the table of the picture files that the training images were made of, in the order of the rows."""
    _new(path, [LISTING, *enumerate(names)])


def listing(folder: Path) -> Path:
    """The place of that table. UserError if there is another file, which would be lost."""
    path = folder / FILES
    if path.exists():
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            if file.readline().rstrip("\n") != ",".join(LISTING):
                raise UserError(f"{path}: not written by download.py, which needs that place; give the file another "
                                "name")
    return path


def mark(image: np.ndarray) -> str:
    """Eight letters (no program of tables takes them for a number) that another image hardly has."""
    return "".join(chr(ord("a") + half) for byte in hashlib.blake2b(image.tobytes(), digest_size=4).digest()
                   for half in divmod(byte, 16))


def by_row(path: Path, column: str = "file") -> dict[int, str]:
    """What a table says in that column, by row; nothing where it has none or is no table."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return {int(line["row"]): line[column] for line in csv.DictReader(file) if line[column]}
    except (OSError, LookupError, TypeError, ValueError, csv.Error):  # a help to the eye alone
        return {}


def _new(path: Path, lines: Iterable[Sequence[Any]]) -> None:
    try:
        with files.whole(path) as new, open(new, "x", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def class_name(field: str | None, where: str) -> str:
    """What a field of a table says, "" for none. UserError for a word that may mean none, or not."""
    label = (field or "").strip()
    if label.lower() in NO_LABEL:
        raise UserError(f"{where}: label {label}; leave the field empty where a picture has none")
    return "" if label in ("-1", "-1.0") else label


def answers(path: Path) -> dict[int, str]:
    """The class names that a table holds by row; rows without one are left out. UserError where it is no such table, or
    no label is filled in."""
    if given := _filled_in(path):
        return given
    raise UserError(f"--labels {path}: no label is filled in yet")


def _filled_in(path: Path) -> dict[int, str]:
    given: dict[int, str] = {}
    for where, row, label in lines(path, "row"):
        if not re.fullmatch(r"[0-9]{1,18}", row):
            raise UserError(f"{where}: row {row!r:.60} is no number")
        if not label.isprintable():
            raise UserError(f"{where}: the label {label!r:.60} cannot be printed")
        if label and given.setdefault(int(row), label) != label:
            raise UserError(f"{where}: row {row} is {given[int(row)]!r} and {label!r}")
    return given


def lines(path: Path, key: str) -> Iterator[tuple[str, str, str]]:
    """Of each line of a table with the columns `key` and label, where it stands, for messages, its field `key` and its
    class name, "" for none. UserError where it is no such table."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ["empty"]
            if [columns.count(name) for name in (key, "label")] != [1, 1]:
                raise UserError(f"--labels {path}: its first line must name the columns {key} and label, each once, "
                                f"with a comma between them; it is {','.join(columns)[:80]!r}")
            for line in reader:
                where = f"--labels {path}, line {reader.line_num}"
                if None in line:
                    raise UserError(f"{where}: more fields than the first line names; put what has a comma in quotes")
                yield where, (line[key] or "").strip(), class_name(line["label"], where)
    except OSError as error:
        raise UserError(f"--labels {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--labels {path}: no CSV table in UTF-8 ({error})") from None


class Taken(NamedTuple):
    """What a table of labels made of a data set."""

    data: h5.Data  # as the file now holds it
    new: int  # labels of images that had none
    corrected: int  # labels that were others before
    added: list[str]  # classes that are new
    dropped: list[str]  # classes of which no image is left


def take_in(target: Path, table: Path, budget: float = math.inf) -> Taken:
    """Put the labels of the table into the data.h5 `target`, whole or not at all; they replace those that are there.
    Classes that are new are added behind the others. Training images of more than `budget` bytes stay in the file.
    UserError for a row that there is not."""
    with files.alone(target.parent):
        return _taken_in(h5.read(target, budget), answers(table), target, table)


def _taken_in(data: h5.Data, given: Mapping[int, str], target: Path, table: Path) -> Taken:
    if not data.spec.classes:
        raise UserError(f"--labels {table}: the test images of {target} have no labels, so that nothing could be "
                        "measured.\nMake the data set again with some labels of each class: --from_folder and a table "
                        "of files, or y in --from_file (-1: none)")
    before = data.arrays.train_label
    if max(given) >= len(before):
        raise UserError(f"--labels {table}: row {max(given)}, but {target} has training images 0 to {len(before) - 1}")
    asked, kept, marked = by_row(table), by_row(target.with_name(FILES)), by_row(table, "image")
    if other := [row for row in given if row in kept and asked.get(row, kept[row]) != kept[row]]:
        raise UserError(f"--labels {table}: row {other[0]} is {kept[other[0]]} in {target}, not {asked[other[0]]}; the "
                        "table was made for other data")
    if other := [row for row in given if row in marked and marked[row] != mark(data.arrays.train_image[row])]:
        raise UserError(f"--labels {table}: row {other[0]} of {target} is another image than that of the table, which "
                        "was made for other data")
    names = list(dict.fromkeys([*data.class_names, *(given[row] for row in sorted(given))]))
    after = before.copy()
    after[list(given)] = [names.index(name) for name in given.values()]
    new, changed = int((before < 0)[list(given)].sum()), int((after != before).sum())
    if not changed:
        return Taken(data, 0, 0, [], [])
    if isinstance(data.arrays.train_image, np.memmap) and h5.digests(data.arrays)[1] != data.digest:  # not yet checked
        raise UserError(f"{target}: damaged: the digest of its images is not the one stored with them;\n{h5.REMEDY}")
    # A class with a number below one of the test images stays: other numbers of these would make another test set.
    dropped = [k for k in range(data.arrays.test_label.max() + 1, len(names)) if k in before and k not in after]
    kept = np.setdiff1d(np.arange(len(names)), dropped)
    numbers = np.full(len(names) + 1, -1)  # the last for images without a label
    numbers[kept] = np.arange(len(kept))
    written = h5.write(target, data.arrays._replace(train_label=numbers[after]), data.spec.name,
                       [names[k] for k in kept], data.source, data.resize)
    return Taken(written, new, changed - new, names[data.spec.classes:], [names[k] for k in dropped])


def alike(name: str, names: Iterable[str]) -> str | None:
    """The one of the other names that `name` may be a misspelling of, in any case; None if there is none."""
    others = {other.lower(): other for other in names if other != name}
    swapped = [other for other in others if sorted(other) == sorted(name.lower())]
    same = [other for other in others if re.sub(r"(?<=\d)\.0+$", "", other) == re.sub(r"(?<=\d)\.0+$", "", name)]
    found = swapped or same or difflib.get_close_matches(name.lower(), others, 1, ALIKE)
    return others[found[0]] if found else None
