"""How the numbers of a classifier are to be read; found from training images alone."""
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine import evaluate, restore

UNLIKE = 0.01  # share of the training images that count as unlike the others
LOOKED_AT = 10_000  # training images at most, for that share
LOWEST, HIGHEST = 0.05, 20.0  # temperatures


class Calibration(NamedTuple):
    """A temperature and a threshold."""

    temperature: float
    fitted_on: str
    least_real: float | None  # p(real) under which a picture is unlike the training images; None: D knows no others

    def told(self) -> str:
        """The temperature, in words."""
        bound = ", the highest tried" if self.temperature > 0.99 * HIGHEST else ""
        return f"temperature {self.temperature:.3f}{bound}, fitted on {self.fitted_on}"


def of(run: restore.Restored, saved: dict[str, Any]) -> Calibration:
    """From the validation rows of the run, which its checkpoint tells, or else its labelled rows."""
    images, labels = run.data.arrays.train_image, run.data.arrays.train_label
    name = "validation" if len(saved["validation"]) else "labelled"
    rows = saved[name].numpy()
    classes = evaluate.predict(run.averaged, images[rows], run.device).classes
    # Of images that were learnt by heart, or of which none is mistaken, the lowest temperature looks best.
    judged = name == "validation" and evaluate.mistaken(classes, labels[rows]).any()
    fitted = temperature(classes, torch.from_numpy(labels[rows]), LOWEST if judged else 1.0)
    least = None
    if run.tells_real:
        some = np.linspace(0, len(images) - 1, min(len(images), LOOKED_AT)).round().astype(int)
        real = evaluate.predict(run.averaged, images[some], run.device).real.sigmoid()
        least = real.double().quantile(UNLIKE).item()
    return Calibration(fitted, f"{len(rows)} {name} images", least)


def temperature(classes: Tensor, labels: Tensor, lowest: float) -> float:
    """The T from `lowest` to HIGHEST for which softmax(classes / T) has the least negative log-likelihood of the labels
    (Guo et al. 2017, section 4.2)."""
    from scipy.optimize import minimize_scalar

    def nll(log_t: float) -> float:
        return functional.cross_entropy(classes.double() / np.exp(log_t), labels).item()

    ends = np.log(lowest), np.log(HIGHEST)
    found = minimize_scalar(nll, bounds=ends, method="bounded").x
    return float(np.exp(min((found, *ends), key=nll)))
