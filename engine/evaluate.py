"""What a classifier or a density model says of images; the one code by which trainer and evaluator count errors."""
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import losses
from engine import report, restore, world
from ops import Verdict

IMAGES, PIXELS = 1000, 1000 * 32 * 32  # in one call, at most
BINS = 15  # of confidence, as in Guo et al. 2017


@torch.no_grad()
def predict(D: nn.Module, images: np.ndarray, device: torch.device) -> Verdict:
    """The verdict on uint8 images [N, H, W, C], in evaluation mode and float32, on the host."""
    parts = [said for _, said in _passes(D, images, device, PIXELS)]
    return Verdict(*(torch.cat(field).cpu() for field in zip(*parts, strict=True)))


@torch.no_grad()
def bits_per_dimension(P: nn.Module, images: np.ndarray, device: torch.device) -> float:
    """-log2 p(x) per pixel and colour, mean over the uint8 images [N, H, W, C], in evaluation mode and float32."""
    # A density model has more maps of the images' own size than a classifier.
    log_p = torch.cat([losses.log_likelihood(x, *mixture) for x, mixture in _passes(P, images, device, PIXELS // 10)])
    return losses.bits_per_dimension(log_p.double(), math.prod(images.shape[1:])).item()


def _passes(net: nn.Module, images: np.ndarray, device: torch.device, pixels: int) -> Iterator[tuple[Tensor, Any]]:
    """Images of at most so many pixels at a time, as the net sees them, and what it says of them."""
    was_training, size = net.training, max(1, min(IMAGES, pixels // math.prod(images.shape[1:3])))
    net.eval()
    for start in range(0, len(images), size):
        chunk = torch.tensor(images[start:start + size], device=device).permute(0, 3, 1, 2)
        x = net.pixels.from_bytes(chunk)
        yield x, net(x)
    net.train(was_training)


def mistaken(classes: Tensor, labels: np.ndarray) -> np.ndarray:
    """Which images are put into a wrong class: bool [N], from the logits [N, K] and the labels [N]."""
    return classes.argmax(1).numpy() != labels


def errors(D: nn.Module, images: np.ndarray, labels: np.ndarray, device: torch.device) -> int:
    """How many of the images are put into a wrong class."""
    return int(mistaken(predict(D, images, device).classes, labels).sum())


def result(run: restore.Restored, classes: Tensor | None, saved: dict[str, Any], path: Path) -> dict[str, Any]:
    """All that eval.json holds, from the logits [N, K] of the averaged classifier on the test images; without accuracy
    where there is no classifier, and with the bits per dimension of a density model."""
    last = saved["step"] == run.cfg.steps
    which = "last checkpoint" if last else f"checkpoint of step {saved['step']} of {run.cfg.steps}"
    return {**(_accuracy(run, classes, saved, path) if classes is not None else {}),
            **(_bits(run) if run.recipe.evaluated == "density" else {}),
            **{name: getattr(run.cfg, name) for name in ("dataset", "recipe", "model", "labels", "label_seed",
                                                         "labelled", "seed", "average")},
            "validation_images": len(saved["validation"]),
            "step": saved["step"], "steps": run.cfg.steps, "checkpoint": path.name,
            "selection": saved.get("selection") or f"{which}, no selection on test images",
            "labelled_digest": saved["labelled_digest"], "data_digest": run.data.digest,
            "versions": {"training": saved["versions"], "resumed": saved["resumed"],
                         "evaluation": world.versions(run.device)}}


def _accuracy(run: restore.Restored, classes: Tensor, saved: dict[str, Any], path: Path) -> dict[str, Any]:
    images, labels = run.data.arrays.test_image, run.data.arrays.test_label
    raw = errors(run.nets["D"], images, labels, run.device)
    beside = report.baseline(path.parent, saved)
    return {**scores(classes, labels, run.data.class_names),
            "accuracy_raw_weights": 1 - raw / len(labels), "errors_raw_weights": raw,
            "supervised_baseline": beside and {**beside, "errors": round((1 - beside["accuracy"]) * len(labels))}}


def _bits(run: restore.Restored) -> dict[str, Any]:
    images = run.data.arrays.test_image
    averaged, raw = (bits_per_dimension(P, images, run.device) for P in (run.averaged, run.nets[run.recipe.nets[0]]))
    return {"bits_per_dimension": averaged, "bits_per_dimension_raw_weights": raw, "test_images": len(images)}


def scores(classes: Tensor, labels: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    """What the logits [N, K] are worth, as plain numbers: accuracy (a fraction), errors, test_images, nll (mean of
    -log softmax(classes)[label], in nats), ece (expected calibration error, Guo et al. 2017, eq. 3), per_class, and
    confusion [K][K] (rows: true class, columns: predicted class)."""
    count, wrong = classes.shape[1], int(mistaken(classes, labels).sum())
    confusion = np.bincount(labels * count + classes.argmax(1).numpy(), minlength=count**2).reshape(count, count)
    images, confidence, accuracy = calibration(classes, labels).T
    return {"accuracy": 1 - wrong / len(labels), "errors": wrong, "test_images": len(labels),
            "nll": functional.cross_entropy(classes.double(), torch.from_numpy(labels)).item(),
            "ece": float(images @ abs(accuracy - confidence)) / len(labels),
            "per_class": per_class(confusion, class_names), "confusion": confusion.tolist()}


def per_class(confusion: np.ndarray, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row per class: class, images, errors and accuracy (None where the class has no images)."""
    images, right = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    return [{"class": name, "images": n, "errors": n - r, "accuracy": r / n if n else None}
            for name, n, r in zip(class_names, images, right, strict=True)]


def calibration(classes: Tensor, labels: np.ndarray) -> np.ndarray:
    """The reliability diagram's bins of equal width: [BINS, 3] with the number of images, their mean confidence and
    their accuracy (0 in empty bins)."""
    confidence = classes.softmax(1).amax(1)
    bins = torch.bucketize(confidence, torch.linspace(0, 1, BINS + 1)[1:-1], right=True).numpy()
    sums = [np.bincount(bins, weights, BINS) for weights in (None, confidence.numpy(), ~mistaken(classes, labels))]
    images = np.maximum(sums[0], 1)
    return np.stack([sums[0], sums[1] / images, sums[2] / images], axis=1)
