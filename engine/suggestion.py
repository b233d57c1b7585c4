"""Images to label next: which ones, a table to fill in, and a sheet to look at."""
from pathlib import Path

import numpy as np

from config import UserError
from datasets import labelling, suggest
from engine import figures


def ask(folder: Path, images: np.ndarray, features: np.ndarray, known: np.ndarray, count: int, seed: int) -> list[Path]:
    """Write suggest.csv and suggest.png with `count` of the training images [N, H, W, C], chosen by their features
    [N, F]; the rows `known` are labelled already. Returns both paths. UserError if there are not so many, or a table is
    there already."""
    if count > len(images) - len(known):
        raise UserError(f"--suggest {count}: only {len(images) - len(known)} training images have no label")
    table, sheet = folder / "suggest.csv", folder / "suggest.png"
    rows = suggest.typical(features, known, count, seed)
    folder.mkdir(parents=True, exist_ok=True)
    labelling.ask(table, rows.tolist())
    figures.sheet(sheet, images[rows], [f"row {row}" for row in rows],
                  "write the class of each row into suggest.csv, the most valuable first")
    return [table, sheet]
