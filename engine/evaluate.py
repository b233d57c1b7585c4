"""What a classifier or a density model says of images; the one code by which trainer and evaluator count errors."""
import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import datasets
import losses
import models
import recipes
from config import Config, Spec, UserError, from_dict
from datasets import splits
from datasets.h5 import Data
from engine import report, state, world
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
        chunk = torch.from_numpy(images[start:start + size]).to(device).permute(0, 3, 1, 2)
        x = net.pixels.from_bytes(chunk)
        yield x, net(x)
    net.train(was_training)


def mistaken(classes: Tensor, labels: np.ndarray) -> np.ndarray:
    """Which images are put into a wrong class: bool [N], from the logits [N, K] and the labels [N]."""
    return classes.argmax(1).numpy() != labels


def errors(D: nn.Module, images: np.ndarray, labels: np.ndarray, device: torch.device) -> int:
    """How many of the images are put into a wrong class."""
    return int(mistaken(predict(D, images, device).classes, labels).sum())


class Restored(NamedTuple):
    """A checkpoint ready to be evaluated."""

    cfg: Config
    recipe: recipes.Recipe
    data: Data  # with the labels that the run was given
    now: Data  # with those that the data set has since
    nets: dict[str, nn.Module]  # raw weights; without "G" where the recipe has no generator
    averaged: nn.Module  # the first of them with averaged weights
    device: torch.device
    judges: bool  # whether D was trained to tell real images from generated ones


def restore(saved: dict[str, Any], path: Path, data_dir: str = "", device: str = "") -> Restored:
    """The data set and the networks of what `engine.state.load` read from `path`; the folder of the data sets and the
    device are those of the training if not given. UserError if the settings, the data set or the weights do not fit,
    or weights are not finite."""
    recipe, cfg = settings(saved, path)
    where, data_dir = _device(device, cfg.device), Path(data_dir or cfg.data_dir)
    now = _load(cfg.dataset, data_dir)
    with state.fitting(path, "data"):
        data = as_trained(now if recipe.classifies else now.without_labels(), saved, data_dir)
    judges = any("fake" in player.terms for player in recipe.players(cfg))
    return Restored(cfg, recipe, data, now, *networks(saved, path, recipe, cfg, data.spec, where), where, judges)


def settings(saved: dict[str, Any], path: Path) -> tuple[recipes.Recipe, Config]:
    """The recipe and the settings of what was read from `path`. UserError if they do not fit."""
    with state.fitting(path, "settings"):
        recipe = recipes.find(saved["settings"]["recipe"])
        return recipe, from_dict(recipe.settings, saved["settings"])


def networks(saved: dict[str, Any], path: Path, recipe: recipes.Recipe, cfg: Config, spec: Spec,
             where: torch.device) -> tuple[dict[str, nn.Module], nn.Module]:
    """The networks by name with their raw weights, and the first of them with averaged ones, of what was read from
    `path`, whose `settings` are given. UserError if the weights do not fit or are not finite."""
    with state.fitting(path, "weights"):
        nets = {name: net.to(where, memory_format=torch.channels_last)
                for name, net in models.build(cfg, spec, recipe.trained(cfg)).items()}
        averaged = copy.deepcopy(nets[recipe.nets[0]])
        for name, net in nets.items():
            net.load_state_dict(saved["nets"][name])
        averaged.load_state_dict(saved["averaged"])
    for net in (*nets.values(), averaged):
        if bad := [name for name, values in net.state_dict().items() if not values.isfinite().all()]:
            raise UserError(f"{path}: its weights are not finite ({bad[0]}); take another checkpoint of the run")
    return nets, averaged


def _device(asked: str, trained_on: str) -> torch.device:
    """The device asked for, or else that of the training (another one rounds differently) where this machine has it."""
    try:
        return world.device(asked or trained_on)
    except UserError:
        if asked:
            raise
        return world.device("auto")


def _load(name: str, data_dir: Path) -> Data:
    try:
        return datasets.load(name, data_dir, world.image_budget(torch.device("cpu")))
    except UserError as error:
        raise UserError(f"the checkpoint's data set, looked for in --data_dir {data_dir}: {error}") from None


def as_trained(data: Data, saved: dict[str, Any], data_dir: Path) -> Data:
    """The data set as the run of the checkpoint had it: with its classes and the labels that it was given, whatever
    was added or corrected since. UserError if images or test labels are not those of the checkpoint."""
    before = saved["data"]
    if data.digest != before["digest"]:
        raise UserError(f"{data.spec.name} (--data_dir {data_dir}): its images or test labels are not those of the "
                        f"checkpoint ({_kind(data.spec.shape, data.spec.classes, data.digest)}, not "
                        f"{_kind(before['shape'], before['classes'], before['digest'])}); name the folder with that "
                        "data set")
    rows, labels = torch.cat([saved["labelled"], saved["validation"]]).numpy(), saved["labels"].numpy()
    count = len(saved["labelled"])
    if splits.digest(rows[:count], labels[:count]) != saved["labelled_digest"]:
        raise UserError("the checkpoint's labels are not those of its own digest; take another checkpoint of the run")
    return data.with_labels(tuple(before["class_names"]), rows, labels)


def _kind(shape: Sequence[int], classes: int, digest: str) -> str:
    return f"{' x '.join(map(str, shape))} images of {classes} classes, digest {digest[:12]}"


def judge(run: Restored, classes: Tensor | None, saved: dict[str, Any], path: Path) -> dict[str, Any]:
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
            "versions": {"training": saved["versions"], "resumed": saved["resumed"], "evaluation": world.versions()}}


def _accuracy(run: Restored, classes: Tensor, saved: dict[str, Any], path: Path) -> dict[str, Any]:
    images, labels = run.data.arrays.test_image, run.data.arrays.test_label
    raw = errors(run.nets["D"], images, labels, run.device)
    beside = report.baseline(path.parent, saved)
    return {**scores(classes, labels, run.data.class_names),
            "accuracy_raw_weights": 1 - raw / len(labels), "errors_raw_weights": raw,
            "supervised_baseline": beside and {**beside, "errors": round((1 - beside["accuracy"]) * len(labels))}}


def _bits(run: Restored) -> dict[str, Any]:
    images = run.data.arrays.test_image
    averaged, raw = (bits_per_dimension(P, images, run.device) for P in (run.averaged, run.nets[run.recipe.nets[0]]))
    return {"bits_per_dimension": averaged, "bits_per_dimension_raw_weights": raw, "test_images": len(images)}


def scores(classes: Tensor, labels: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    """What the logits [N, K] are worth, as plain numbers: accuracy (a fraction), errors, test_images, nll (mean of
    -log softmax(classes)[label], in nats), ece (expected calibration error, Guo et al. 2017, eq. 3), per_class, and
    confusion [K][K] (rows: true class, columns: predicted class)."""
    # Imported here, because it takes seconds that every start of the trainer would wait for.
    from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

    target, count = torch.from_numpy(labels), classes.shape[1]
    wrong = int(mistaken(classes, labels).sum())
    # The arguments are not validated, because the library refuses the single class that a data set may have.
    confusion = multiclass_confusion_matrix(classes.argmax(1), target, count, validate_args=False)
    ece = multiclass_calibration_error(probabilities(classes), target, count, BINS, "l1", validate_args=False)
    return {"accuracy": 1 - wrong / len(labels), "errors": wrong, "test_images": len(labels),
            "nll": functional.cross_entropy(classes.double(), target).item(), "ece": ece.item(),
            "per_class": per_class(confusion.numpy(), class_names), "confusion": confusion.tolist()}


def probabilities(classes: Tensor) -> Tensor:
    """softmax(classes), at most the largest float below 1: to the library a confidence of exactly 1 is a 16th bin."""
    return classes.softmax(1).clamp(max=1 - 2**-24)


def per_class(confusion: np.ndarray, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row per class: class, images, errors and accuracy (None where the class has no images)."""
    images, right = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    return [{"class": name, "images": n, "errors": n - r, "accuracy": r / n if n else None}
            for name, n, r in zip(class_names, images, right, strict=True)]


def calibration(classes: Tensor, labels: np.ndarray) -> np.ndarray:
    """The reliability diagram's bins of equal width: [BINS, 3] with the number of images, their mean confidence and
    their accuracy (0 in empty bins)."""
    confidence = probabilities(classes).amax(1)
    bins = (torch.bucketize(confidence, torch.linspace(0, 1, BINS + 1), right=True) - 1).numpy()
    sums = [np.bincount(bins, weights, BINS) for weights in (None, confidence.numpy(), ~mistaken(classes, labels))]
    images = np.maximum(sums[0], 1)
    return np.stack([sums[0], sums[1] / images, sums[2] / images], axis=1)
