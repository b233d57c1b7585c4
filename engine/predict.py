"""What a trained classifier says of pictures of the user's own: one line of a CSV for each."""
import csv
import glob
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm

from config import UserError
from datasets import folder, photo
from datasets.files import whole
from engine import evaluate, restore
from engine.calibration import Calibration

BATCH = 256  # pictures decoded and judged at a time
COLUMNS = ("file", "class", "probability", "confidence", "real", "unlike", "problem")


def look(run: restore.Restored, saved: dict[str, Any]) -> photo.Look:
    """How pictures are prepared for the classifier: as the training images were, which the checkpoint tells."""
    height, width, channels = run.data.spec.shape
    if run.data.spec.points or channels not in (1, 3):
        kind = "points" if run.data.spec.points else f"images of {height} x {width} x {channels}"
        raise UserError(f"--predict: {run.data.spec.name} has {kind}, which are no pictures; use datasets.h5 and "
                        "engine.evaluate.predict")
    resize = saved["data"].get("resize")
    if resize not in get_args(photo.Resize):
        raise UserError(f"--predict: the checkpoint does not tell how its pictures were prepared (found {resize!r})")
    return photo.Look(height, width, resize, channels == 1)


def find(words: Iterable[str]) -> list[str]:
    """The files that are meant by file names, folders (all files in them), patterns and "-" (names on standard input,
    one a line). UserError for a word that means none."""
    found: list[str] = []
    for word in words:
        if word == "-":
            files = [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        elif os.path.isdir(word):
            files = sorted(_below(word))
        elif os.path.isfile(word):
            files = [word]
        else:
            files = sorted(path for path in glob.glob(word, recursive=True) if os.path.isfile(path))
        if not files:
            raise UserError("--predict -: no names on standard input" if word == "-" else
                            f"--predict {word}: no such file, folder or pattern with a picture in it")
        found += files
    if not found:
        raise UserError("--predict: name pictures: files, folders, patterns, or - for names on standard input")
    return list(dict.fromkeys(found))


def _below(folder: str) -> Iterator[str]:
    """Every file below the folder. UserError for a folder in it that cannot be looked into."""

    def refused(error: OSError) -> None:
        raise UserError(f"--predict {error.filename}: {error.strerror}")

    for path, folders, files in os.walk(folder, onerror=refused):
        if linked := [name for name in folders if os.path.islink(os.path.join(path, name))]:
            raise UserError(f"--predict {os.path.join(path, linked[0])}: a link to a folder, which is not followed; "
                            "name that folder beside this one, or take the link out")
        yield from (name for file in files if os.path.isfile(name := os.path.join(path, file)))


def write(run: restore.Restored, files: list[str], look: photo.Look, read_by: Calibration,
          output: Path) -> tuple[int, int]:
    """Write the CSV `output` with a line for each file; returns how many are pictures, and how many not. UserError if
    none is one, or the disk does not take it; then there is no file."""
    useless = 0
    if output.is_dir():
        raise UserError(f"--output {output}: a folder; name a file")
    if output.exists() and (same := [name for name in files if os.path.exists(name) and output.samefile(name)]):
        if output.suffix.lower() != ".csv":
            raise UserError(f"--output {output}: one of the pictures, which it would replace; name another file")
        files = [name for name in files if name not in same]  # what was written last time
        if not files:
            raise UserError(f"--predict: no picture beside {output}, which was written last time")
    try:
        with whole(output) as new, open(new, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for line in tqdm(_lines(run, files, look, read_by), "predict", len(files), unit="picture"):
                useless += bool(line["problem"])
                writer.writerow(line)
            if useless == len(files):
                raise UserError(f"--predict: no picture among the files named ({useless}); the last, {line['file']}: "
                                f"{line['problem']}")
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror}); name another place") from None
    return len(files) - useless, useless


def _lines(run: restore.Restored, files: list[str], look: photo.Look, read_by: Calibration) -> Iterator[dict]:
    decoded = zip(files, folder.decoded(files, look), strict=True)
    while part := list(islice(decoded, BATCH)):
        pixels = [np.frombuffer(found, np.uint8).reshape(look.shape) for _, found in part if isinstance(found, bytes)]
        verdicts = iter(_verdicts(run, np.stack(pixels), read_by) if pixels else ())
        for name, found in part:
            usable = isinstance(found, bytes)
            yield {"file": name, **(next(verdicts) if usable else {}), "problem": "" if usable else found}


def _verdicts(run: restore.Restored, images: np.ndarray, read_by: Calibration) -> Iterator[dict[str, Any]]:
    verdict = evaluate.predict(run.averaged, images, run.device)
    plain, tempered = (torch.softmax(verdict.classes / t, 1).amax(1) for t in (1.0, read_by.temperature))
    best, real = verdict.classes.argmax(1), verdict.real.sigmoid()
    for k, p, c, r in zip(best.tolist(), plain.tolist(), tempered.tolist(), real.tolist(), strict=True):
        line = {"class": run.data.class_names[k], "probability": f"{p:.4f}", "confidence": f"{c:.4f}"}
        if read_by.least_real is not None:
            line |= {"real": f"{r:.4f}", "unlike": "yes" if r < read_by.least_real else "no"}
        yield line
