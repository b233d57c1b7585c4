"""Which file of a folder of pictures belongs to what: training with its class, unlabelled, or test.

Layouts, told by what is there: folders named like the classes; names that begin with the class and end in a number,
`cat.0.jpg`; a table with the columns file and label. `labelled/` (or `train/`) and `test/` may part the pictures, each
in any of these layouts, and `unlabelled/` may lie beside them or beside class folders; without `test/`, `val/` beside
`train/` is one. Hidden files are not looked at.
"""
import itertools
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from config import UserError
from datasets import labelling, splits

ROLES = {"labelled": "train", "labeled": "train", "train": "train", "training": "train", "training_set": "train",
         "unlabelled": "unlabelled", "unlabeled": "unlabelled", "test": "test", "testing": "test", "test_set": "test"}
VALIDATION = {"val", "valid", "validation"}  # beside a part train only: elsewhere they may be classes
PART = re.compile(r"(?:.*[^a-z])?(train|test|val|valid)(?:ing|ation)?(?:[^a-z].*)?")  # a name that speaks of a part
NO_CLASS = re.compile(r".*unlabell?ed.*|val|validation|hold.?out"
                      r"|(?:train|test|val|valid)(?:ing|ation)?[^a-z]*(?:set|data|images|pictures|photos)")
BESIDE = "beside the folders of the classes"
NUMBERED = re.compile(r"(.*?)[\s._-]*\(?\d+\)?")  # the stem of a name that carries its class


class Picture(NamedTuple):
    """A file of the folder and what is known of it."""

    file: str  # below the folder, with "/"
    label: int  # -1: unlabelled
    test: bool


class Problem(NamedTuple):
    file: str
    reason: str


class Plan(NamedTuple):
    """What is to be decoded, test pictures first."""

    pictures: list[Picture]
    class_names: tuple[str, ...]
    held_out: bool  # whether test pictures were chosen here, because there is no test folder


def arrange(root: Path, labels: str, share: float, seed: int, problems: list[Problem]) -> Plan:
    """Which picture is what; adds to `problems` the files that have no place. `labels` names a table, if there is one;
    without a test folder, that share of each class is held out. UserError where that gives no data set."""
    table = _table(root, labels) if labels else None
    files = _files(root, problems)
    if table:
        itself = os.path.realpath(table.path)
        files = [file for file in files if os.path.realpath(root / file) != itself]
    parts = _parts(files, problems)
    classes = {part: _classes(part, parts[part], table, problems) for part in ("train", "test")}
    if table:
        problems += [Problem(file, f"in {table.path.name}, but not among the pictures") for file in table.unused(files)]
    names = tuple(sorted({name for name in classes["train"].values() if name}))
    if not table:
        _check_folders(root, parts["train"], problems)
    _check_names(root, names, [file for file, reason in problems if reason == BESIDE])
    number = {name: k for k, name in enumerate(names)}
    train = [Picture(file, number[name] if name else -1, False) for file, name in classes["train"].items()]
    train += [Picture(file, -1, False) for file in parts["unlabelled"]]
    test = []
    for file, name in classes["test"].items():
        if name in number:
            test.append(Picture(file, number[name], True))
        else:
            problems.append(Problem(file, f"of class {name!r}, which has no training picture" if name else "no label"))
    if parts["test"] and not test:
        raise UserError(f"--from_folder {root}: none of the {len(parts['test'])} test pictures has a label that "
                        "training pictures have, too.\nPut pictures without a label into unlabelled/; without test/, "
                        "some are held out")
    held = set() if parts["test"] else _held_out(train, names, share, seed)
    order = np.random.RandomState(seed).permutation(len(train)).tolist()
    test += [train[row]._replace(test=True) for row in order if row in held]
    train = [train[row] for row in order if row not in held]
    return Plan(test + train, names, not parts["test"])


def _files(root: Path, problems: list[Problem]) -> list[str]:
    """Every file below the folder but hidden ones, in order. No link out of the folder is followed, nor one to a
    folder."""
    if not root.is_dir():
        raise UserError(f"--from_folder {root}: not a folder; name one with pictures in it")
    found, inside = [], os.path.realpath(root)

    def unreadable(error: OSError) -> None:
        problems.append(Problem(os.path.relpath(error.filename, root), error.strerror or "cannot be read"))

    for folder, folders, files in os.walk(root, onerror=unreadable):
        below = Path(os.path.relpath(folder, root))
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in linked)
        for name in sorted((*files, *linked)):
            file, path = (below / name).as_posix(), os.path.join(folder, name)
            if name.startswith("."):
                continue
            if os.path.commonpath((inside, os.path.realpath(path))) != inside:
                problems.append(Problem(file, "a link that leaves the folder"))
            elif not os.path.isfile(path):  # opened, a pipe would wait for ever
                problems.append(Problem(file, "a link to a folder" if name in linked else "not a regular file"))
            else:
                found.append(file)
    return found


def _parts(files: Sequence[str], problems: list[Problem]) -> dict[str, dict[str, str]]:
    """The files of train, unlabelled and test, each with its path below the part's folder. Two names of a part (train,
    labelled) may be there together, and the same path below each."""
    parts: dict[str, dict[str, str]] = {"train": {}, "unlabelled": {}, "test": {}}
    first = {file: file.partition("/")[0].lower() if "/" in file else "" for file in files}
    role = {file: ROLES.get(folder) for file, folder in first.items()}
    parted = "train" in role.values()
    if parted and "test" not in role.values():
        role |= {file: "test" for file in files if first[file] in VALIDATION}
    for file in files:
        if role[file]:
            parts[role[file]][file] = file.partition("/")[2]
        elif parted:
            problems.append(Problem(file, "beside the folders labelled, unlabelled and test"))
        else:
            parts["train"][file] = file
    return parts


class Table:
    """The labels of a CSV file, by the path below the folder or below the part's."""

    def __init__(self, path: Path, labels: dict[str, str]):
        self.path, self.labels = path, labels
        self.used: dict[str, str] = {}  # by line the file that it labels

    def label(self, file: str, below: str) -> str | None:
        """The label of a file, by its path or that below its part. UserError where a line fits two files."""
        for path in (file, below):
            if path in self.labels:
                if (first := self.used.setdefault(path, file)) != file:
                    raise UserError(f"--labels {self.path}: {shown(path)} can be {shown(first)} or {shown(file)}; "
                                    "write the whole path of each, and leave out what has no label")
                return self.labels[path]
        return None

    def unused(self, files: Sequence[str]) -> list[str]:
        """The lines that name none of the files. UserError where this is said of all."""
        if files and self.labels and not self.used:
            raise UserError(f"--labels {self.path}: no line names a picture; pictures are called like "
                            f"{shown(files[0])}, lines like {shown(next(iter(self.labels)))}")
        return [path for path in self.labels if path not in self.used]


def _table(root: Path, name: str) -> Table:
    path = next((path for path in (Path(name), root / name) if path.is_file()), None)
    if path is None:
        raise UserError(f"--labels {name}: no such file, neither here nor in {root}")
    labels: dict[str, str] = {}
    for where, file, label in labelling.lines(path, "file"):
        file = file.removeprefix("./")
        if labels.setdefault(file, label) != label:
            raise UserError(f"{where}: {shown(file)} has another label in an earlier line; leave one of them")
    return Table(path, labels)


def _classes(part: str, files: dict[str, str], table: Table | None, problems: list[Problem]) -> dict[str, str | None]:
    """The class of each file of a part, None where it is not labelled."""
    if table:
        return {file: table.label(file, below) or None for file, below in files.items()}
    in_folders, found = any("/" in below for below in files.values()), {}
    for file, below in files.items():
        first, _, rest = below.partition("/")
        numbered = NUMBERED.fullmatch(Path(below).stem)
        if in_folders and rest:
            found[file] = first
        elif not in_folders and numbered and numbered[1]:
            found[file] = numbered[1]
        else:
            problems.append(Problem(file, BESIDE if in_folders else "a name without a class (as in cat.0.jpg)"))
    return found


def _check_names(root: Path, names: Sequence[str], beside: Sequence[str]) -> None:
    """UserError for names that cannot be those of the classes, where the files `beside` lie beside their folders."""
    if len(names) < 2:
        found = f"one class ({shown(names[0])})" if names else "no class"
        raise UserError(f"--from_folder {root}: {found} was found, but a classifier needs two.\n"
                        + (f"Folders are classes; {len(beside)} files, as {shown(beside[0])}, lie beside them" if beside
                           else "Put the pictures of each class into a folder named like it, or name a table with "
                                "--labels; for dcgan and pixelcnn, which need no labels, save them as x of an .npz "
                                "(--from_file)"))
    if odd := [(a, b) for a, b in itertools.pairwise(sorted(names, key=_plain)) if _plain(a) == _plain(b)]:
        raise UserError(f"--from_folder {root}: the classes {shown(odd[0][0])} and {shown(odd[0][1])} differ in case "
                        "alone, or in blanks or accents that look alike; write both alike")
    if odd := [name for name in names if not name.isprintable()]:
        raise UserError(f"--from_folder {root}: the class name {shown(odd[0])} cannot be printed; give it another")


def _plain(name: str) -> str:
    """The same of names that look alike."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def _check_folders(root: Path, files: dict[str, str], problems: list[Problem]) -> None:
    """UserError for folders of classes that are parts by their names, or hold such parts or other classes; adds to
    `problems` folders that all hold the same ones, which may be the classes."""
    inner: dict[str, set[str]] = {}
    for below in files.values():
        first, *rest = below.split("/")
        if rest:
            inner.setdefault(first, set()).add(rest[0] if len(rest) > 1 else "")
    if odd := _odd(inner):
        raise UserError(f"--from_folder {root}: {odd};\nput the training pictures of all classes into train/, the test "
                        "pictures into test/, and those without a label into unlabelled/")
    shared = set.intersection(*inner.values()) - {""} if len(inner) > 1 else set()
    if len(shared) > 1:
        problems.append(Problem(", ".join(sorted(inner)[:5]), "taken for classes, but each holds "
                                f"{', '.join(sorted(shared)[:5])}: are these the classes?"))


def _odd(inner: dict[str, set[str]]) -> str:
    """Why folders, each with the names of the folders in it, cannot all be classes; nothing if they can."""
    names, parts = {_plain(name): name for name in inner}, {}
    for name, below in ((name, below) for name, folders in inner.items() for below in ("", *sorted(folders - {""}))):
        if NO_CLASS.fullmatch(name.lower()):
            return f"{shown(name)} would be a class"
        if below.lower() in ROLES.keys() | VALIDATION:
            return f"{shown(name)} has a folder {shown(below)} of its own"
        if names.get(_plain(below), name) != name:
            return f"{shown(name)} would be a class, but holds {shown(below)}, which is another"
        if part := PART.fullmatch(name.lower()):
            parts[part[1]] = shown(name)
    alone = len(parts) == 1 and len(inner) > 1
    return f"{', '.join(parts.values())} would be classes" if "train" in parts and not alone else ""


def _held_out(train: Sequence[Picture], names: Sequence[str], share: float, seed: int) -> set[int]:
    """The rows of the pictures that become test pictures. UserError for a class that has none to spare."""
    labels = np.array([picture.label for picture in train])
    if alone := [name for k, name in enumerate(names) if (labels == k).sum() < 2]:
        raise UserError(f"--test_share: class {alone[0]} has one picture, of which none can be held out; add more, "
                        "or a folder test")
    return set(splits.hold_out(labels, share, seed)[1].tolist())


def shown(name: str) -> str:
    """A name from outside that does no harm to a terminal or to UTF-8."""
    return name if name.isprintable() else ascii(name)[1:-1]
