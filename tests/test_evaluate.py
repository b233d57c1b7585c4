import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from engine import evaluate, loop, start
from engine import run as engine_run
from ops import Pixels, Verdict

CPU = torch.device("cpu")
NAMES = ("a", "b", "c", "d")


class Brightness(nn.Module):
    """Class k for images whose first pixel is k, with a dropout that must be off in evaluation."""

    pixels = Pixels(0, 1)

    def __init__(self):
        super().__init__()
        self.noise = nn.Dropout(0.9)

    def forward(self, x):
        first = self.noise(x)[:, 0, 0, 0]
        return Verdict(-(first[:, None] - torch.arange(4)).abs(), first, x.flatten(1))


def pictures(classes):
    return np.asarray(classes, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)


def logits_and_labels(n=503, scale=3.0):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, n)
    logits = scale * rng.normal(size=(n, 4)).astype(np.float32)
    logits[np.arange(n), labels] += scale
    return torch.from_numpy(logits), labels


@pytest.mark.parametrize("count", [1, 4, 9])
def test_every_image_is_judged_to_the_last(monkeypatch, count):
    monkeypatch.setattr(evaluate, "PIXELS", 4 * 2 * 2)
    labels = np.arange(count) % 4
    D = Brightness()
    assert evaluate.errors(D, pictures(labels), labels, CPU) == 0
    for i in range(count):
        wrong = labels.copy()
        wrong[i] = (wrong[i] + 1) % 4
        assert evaluate.errors(D, pictures(labels), wrong, CPU) == 1
    said = evaluate.predict(D, pictures(labels), CPU)
    assert said.classes.shape == (count, 4)
    assert said.features.shape == (count, 4)
    assert D.training


def test_small_images_are_not_all_judged_at_once():
    """A layer that compares each image with a hundred others took six gigabytes for the plane of a point set."""
    counts = []
    D = Brightness()
    D.register_forward_pre_hook(lambda net, inputs: counts.append(len(inputs[0])))
    evaluate.predict(D, pictures(np.zeros(2500)), CPU)
    assert counts == [1000, 1000, 500]


def test_scores_are_those_of_the_formulas():
    logits, labels = logits_and_labels()
    found = evaluate.scores(logits, labels, NAMES)
    x = logits.numpy().astype(np.float64)
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    predicted, confidence = p.argmax(1), p.max(1)
    assert found["nll"] == pytest.approx(-np.log(p[np.arange(len(labels)), labels]).mean(), rel=1e-12)
    counts = np.zeros((4, 4), int)
    for true, said in zip(labels, predicted, strict=True):
        counts[true, said] += 1
    assert found["confusion"] == counts.tolist()
    assert counts[0, 1] != counts[1, 0]  # so that a transposed matrix would not pass
    right = predicted == labels
    ece = sum(abs(right[part].sum() - confidence[part].sum()) / len(labels)
              for k in range(15) if (part := (confidence >= k / 15) & (confidence < (k + 1) / 15)).any())
    assert found["ece"] == pytest.approx(ece, abs=1e-6)
    assert found["ece"] > 0.01
    assert found["errors"] == (~right).sum()
    assert found["test_images"] == len(labels)
    assert found["accuracy"] == 1 - found["errors"] / len(labels)
    assert [row["class"] for row in found["per_class"]] == list(NAMES)
    assert [row["images"] for row in found["per_class"]] == np.bincount(labels).tolist()
    assert sum(row["errors"] for row in found["per_class"]) == found["errors"]
    assert found["per_class"][2]["accuracy"] == right[labels == 2].mean()


def test_nll_of_extreme_logits_is_exact():
    found = evaluate.scores(torch.tensor([[0.0, 200, 0, 0], [50, 0, 0, 0]]), np.array([0, 0]), NAMES)
    assert found["nll"] == pytest.approx(100.0)


def test_a_confidence_of_one_lies_in_the_last_bin():
    """The library alone puts it into a 16th bin, and the gaps of the two do not cancel."""
    logits = torch.zeros(4, 4)
    logits[:2, 0], logits[2:, 0] = 200, 4.5
    labels = np.array([0, 1, 0, 0])
    confidence = logits.softmax(1).amax(1)
    assert confidence.max() == 1
    assert 14 / 15 < confidence.min() < 1
    expected = abs(0.75 - confidence.mean().item())
    assert evaluate.scores(logits, labels, NAMES)["ece"] == pytest.approx(expected, abs=1e-6)
    split = multiclass_calibration_error(logits.softmax(1), torch.from_numpy(labels), 4, 15, "l1").item()
    assert split > expected + 0.03
    assert evaluate.calibration(logits, labels)[-1] == pytest.approx([4, confidence.mean().item(), 0.75])


@pytest.mark.parametrize("scale", [0.1, 3.0, 10.0])
def test_scores_are_those_of_torchmetrics(scale):
    logits, labels = logits_and_labels(scale=scale)
    found, target = evaluate.scores(logits, labels, NAMES), torch.from_numpy(labels)
    assert found["confusion"] == multiclass_confusion_matrix(logits.argmax(1), target, 4).tolist()
    # A confidence of exactly 1 is a 16th bin there.
    expected = multiclass_calibration_error(logits.softmax(1).clamp(max=1 - 2**-24), target, 4, evaluate.BINS, "l1")
    assert found["ece"] == pytest.approx(expected.item(), abs=1e-6)
    assert evaluate.calibration(logits, labels)[:, 0].sum() == len(labels)


def test_a_class_without_test_images_has_no_accuracy():
    found = evaluate.scores(torch.eye(4)[:2], np.array([0, 1]), NAMES)
    assert [row["accuracy"] for row in found["per_class"]] == [1, 1, None, None]


def test_a_single_class_can_be_scored():
    found = evaluate.scores(torch.zeros(3, 1), np.zeros(3, int), ("only",))
    assert (found["accuracy"], found["confusion"], found["nll"]) == (1, [[3]], 0)


@pytest.mark.parametrize(("average", "looks"), [(0.9, 3), (0.0, 2)])
def test_a_look_classifies_no_more_than_it_must(average, looks, build, tmp_path, monkeypatch):
    """The test set with both weights, unless they are the same, and of many labelled images some."""
    monkeypatch.setattr(engine_run, "WATCHED", 30)
    training = start.in_new_folder(build(labels=80, steps=1, average=average))
    seen, errors = [], evaluate.errors
    monkeypatch.setattr(evaluate, "errors", lambda D, x, *rest: seen.append(len(x)) or errors(D, x, *rest))
    assert loop.train([training]) == [None]
    assert sorted(seen) == sorted([27] + [40] * (looks - 1))
