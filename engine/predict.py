"""What a trained classifier says of pictures of the user's own: one line of a CSV for each."""
import csv
import glob
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from config import UserError
from datasets import folder, photo
from engine import evaluate

BATCH = 256  # pictures decoded and judged at a time
UNLIKE = 0.01  # share of the training images that count as unlike the others
CALIBRATED_ON = 10_000  # training images at most, for the threshold
COLUMNS = ("file", "class", "probability", "confidence", "real", "unlike", "problem")


class Calibration(NamedTuple):
    """How the classifier's numbers are to be read; all of it is from training images."""

    temperature: float
    fitted_on: str
    least_real: float | None  # p(real) under which a picture is unlike the training images; None if D judges no such


def calibrate(run: evaluate.Restored, labelled: np.ndarray, validation: np.ndarray) -> Calibration:
    """From the validation rows of the run, or else its labelled rows."""
    images, labels = run.data.arrays.train_image, run.data.arrays.train_label
    rows, name = (validation, "validation") if len(validation) else (labelled, "labelled")
    classes = evaluate.predict(run.averaged, images[rows], run.device).classes
    # Labelled images were learnt by heart, so that on them every temperature below 1 looks better than 1.
    lowest = 0.05 if len(validation) else 1.0
    fitted_on = f"{len(rows)} {name} training images"
    least = None
    if run.judges:
        some = np.linspace(0, len(images) - 1, min(len(images), CALIBRATED_ON)).round().astype(int)
        real = evaluate.predict(run.averaged, images[some], run.device).real.sigmoid()
        least = real.double().quantile(UNLIKE).item()
    return Calibration(temperature(classes, torch.from_numpy(labels[rows]), lowest), fitted_on, least)


def temperature(classes: Tensor, labels: Tensor, lowest: float, highest: float = 20.0) -> float:
    """The T in [lowest, highest] for which softmax(classes / T) has the least negative log-likelihood of the labels
    (Guo et al. 2017, section 4.2)."""
    from scipy.optimize import minimize_scalar

    def nll(log_t: float) -> float:
        return functional.cross_entropy(classes.double() / np.exp(log_t), labels).item()

    bounds = np.log(lowest), np.log(highest)
    found = minimize_scalar(nll, bounds=bounds, method="bounded").x
    return float(np.exp(min((found, *bounds), key=nll)))


def find(words: Iterable[str]) -> list[str]:
    """The files that are meant by file names, folders (all files in them), patterns and "-" (names on standard input,
    one a line). UserError for a word that means none."""
    found: list[str] = []
    for word in words:
        if word == "-":
            files = [line.rstrip("\n") for line in sys.stdin if line.strip()]
        elif os.path.isdir(word):
            files = sorted(str(path) for path in Path(word).rglob("*") if path.is_file())
        elif os.path.exists(word):
            files = [word]
        else:
            files = sorted(path for path in glob.glob(word, recursive=True) if os.path.isfile(path))
        if not files:
            raise UserError(f"--predict {word}: no such file, folder or pattern with a picture in it")
        found += files
    return list(dict.fromkeys(found))


def predict(run: evaluate.Restored, files: list[str], look: photo.Look, calibration: Calibration, output: Path) -> int:
    """Write the CSV `output` with a line for each file; returns how many were no pictures. UserError if none was one,
    or the disk does not take it; then there is no file."""
    temporary = output.with_name(f"{output.name}.{os.getpid()}.tmp")
    useless = 0
    try:
        with open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for line in tqdm(_lines(run, files, look, calibration), "predict", len(files), unit="picture"):
                useless += bool(line["problem"])
                writer.writerow(line)
        if useless == len(files):
            raise UserError(f"--predict: none of the {useless} files is a picture; the first, {line['file']}: "
                            f"{line['problem']}")
        os.replace(temporary, output)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror}); name another place") from None
    finally:
        temporary.unlink(missing_ok=True)
    return useless


def _lines(run: evaluate.Restored, files: list[str], look: photo.Look, calibration: Calibration) -> Iterator[dict]:
    decoded = zip(files, folder.decoded(files, look), strict=True)
    while part := list(islice(decoded, BATCH)):
        pixels = [np.frombuffer(found, np.uint8).reshape(look.shape) for _, found in part if isinstance(found, bytes)]
        verdicts = iter(_verdicts(run, np.stack(pixels), calibration) if pixels else ())
        for name, found in part:
            usable = isinstance(found, bytes)
            yield {"file": name, **(next(verdicts) if usable else {}), "problem": "" if usable else found}


def _verdicts(run: evaluate.Restored, images: np.ndarray, calibration: Calibration) -> Iterator[dict[str, Any]]:
    verdict = evaluate.predict(run.averaged, images, run.device)
    plain, tempered = (torch.softmax(verdict.classes / t, 1).amax(1) for t in (1.0, calibration.temperature))
    best, real = verdict.classes.argmax(1), verdict.real.sigmoid()
    for k, p, c, r in zip(best.tolist(), plain.tolist(), tempered.tolist(), real.tolist(), strict=True):
        line = {"class": run.data.class_names[k], "probability": f"{p:.4f}", "confidence": f"{c:.4f}"}
        if calibration.least_real is not None:
            line |= {"real": f"{r:.4f}", "unlike": "yes" if r < calibration.least_real else "no"}
        yield line
