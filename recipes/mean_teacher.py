"""Mean teacher (Tarvainen & Valpola 2017, "Mean teachers are better role models: Weight-averaged consistency targets
improve semi-supervised deep learning results"; settings from its code, tensorflow/ of CuriousAI/mean-teacher at
546348f, those of experiments/*_final_eval.py, which are the paper's; its train_*.py have quicker ones).

    L = -E log p(y | x) + w(t) J(theta),  J = E |f(x, theta, eta) - f(x', theta', eta')|^2 over the classes, their mean
    theta'_t = alpha theta'_{t-1} + (1 - alpha) theta_t

f are the class probabilities, theta' the averaged weights (nets["averaged"], which are also those evaluated), eta noise
and dropout: student and teacher draw their own, and see the same unlabelled image in two views, each flipped and moved
by itself (`Recipe.second_view`). On SVHN each image is given mean 0 and deviation 1 before the noise (--normalise). The
weight w and the learning rate rise as exp(-5 (1 - t/T)^2) until t = T = 40,000 of 150,000 updates (of 180,000 on SVHN;
here T is 40/150 of either). `--average 0` makes the teacher the student itself with other noise, nearly the Pi model
(whose gradient passes both sides).

Where this differs from the code, and why:
- there the class cost of a mixed batch is divided by all of its images, so w is 100 N_labelled / N; here labelled and
  unlabelled images come in equal batches with means of their own, and the same balance is w = 100. There 1 image of 100
  is labelled on SVHN and about 8 on CIFAR-10, so that here each labelled image is seen more often;
- consistency is asked of unlabelled images, which include the labelled ones, and not of the labelled batch again;
- batch norm, as in models/conv_large.py, not weight norm with mean-only batch norm; the two halves of the student's
  batch are normalised together, as in a mixed batch, and the teacher's calls leave its averages alone;
- alpha = 0.999 with bias correction, which is a short average at the start; the code has 0.99 during the ramp-up on
  SVHN, 0.999 on CIFAR-10;
- the rate falls linearly over the last sixth (the code: as exp(-12.5 x^2), on SVHN over 25,000 of 180,000 updates);
  Adam's betas stay 0.9 and 0.999 (the code: beta1 falls to 0.5 with the rate, beta2 is 0.99 while it rises on SVHN);
- an image is normalised after it has been moved, in the code before, and once more with its noise, which multiplies
  all of them by 0.99;
- CIFAR-10 is not whitened; noise 0.15 is added to pixels in [-1, 1];
- Digits, MNIST and Fashion take the MLP of improved-gan, which has noise of its own, w = 10 (on validation rows of
  Digits better than 100 and 3), no changes of the images and a short schedule; all that is ours.
"""
import dataclasses
from functools import partial
from typing import Annotated

import torch

import losses
import ops
from config import Config, Spec, Within

from . import improved_gan
from .player import Player, Recipe


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """How much the student follows the teacher, and what noise both see."""

    consistency: Annotated[float, Within(0)] = 100.0
    """Weight of the consistency after its rise."""
    ramp_up: Annotated[float, Within(1e-6, 1)] = 40 / 150
    """Share of the training over which that weight and the learning rate rise."""
    input_noise: Annotated[float, Within(0)] = 0.15
    """Deviation of the noise that student and teacher each add to the pixels."""
    normalise: bool = False
    """Give each image mean 0 and deviation 1 before the noise (--model conv-large)."""


CONV = {"model": "conv-large", "learning_rate_d": 3e-3, "average": 0.999, "decay_from": 125 / 150, "shift": 2}
MLP = {"model": "mlp", "learning_rate_d": 3e-3, "average": 0.99, "decay_from": 0.5, "consistency": 10.0,
       "input_noise": 0.0}
PUBLISHED = {
    "Digits": {**MLP, "epochs": 100.0},
    "MNIST": {**MLP, "epochs": 40.0},
    "Fashion": {**MLP, "epochs": 40.0},
    "SVHN": {**CONV, "epochs": 246.0, "normalise": True},
    "CIFAR10": {**CONV, "flip": True, "epochs": 300.0},
}


def published(spec: Spec) -> dict:
    gan = improved_gan.published(spec)
    other = {**(MLP if gan["model"] == "mlp" else CONV), "epochs": 100.0}
    return {"labels": gan["labels"], **PUBLISHED.get(spec.name, other)}


def student(nets, b, weight, ramp_up, steps, input_noise, normalise):
    D, teacher = nets["D"], nets["averaged"]

    def noisy(x):
        x = ops.normalised(x) if normalise else x
        return x + input_noise * ops.normal_like(x)

    classes = D(noisy(torch.cat([b.x_lab, b.x_unl]))).classes
    labelled, unlabelled = classes.split([len(b.x_lab), len(b.x_unl)])
    with torch.no_grad(), ops.statistics_kept(teacher):
        target = teacher(noisy(b.x_again)).classes
    rise = losses.ramped_up(b.step, ramp_up * steps)
    return {"supervised": losses.cross_entropy(labelled, b.y_lab),
            "consistency": weight * rise * losses.probability_distance(unlabelled, target)}


def rate(cfg: Settings, step: int, steps_per_epoch: int) -> float:
    return losses.ramped_up(torch.tensor(float(step)), cfg.ramp_up * cfg.steps).item()


def players(cfg: Settings) -> tuple[Player]:
    loss = partial(student, weight=cfg.consistency, ramp_up=cfg.ramp_up, steps=cfg.steps, input_noise=cfg.input_noise,
                   normalise=cfg.normalise)
    return (Player("D", ("D",), ("supervised", "consistency"), loss,
                   partial(torch.optim.Adam, lr=cfg.learning_rate_d, fused=True)),)


RECIPE = Recipe("mean-teacher", "Tarvainen & Valpola 2017, Mean teachers are better role models, arXiv:1703.01780",
                Settings, published, players, nets=("D",), rate=rate, second_view=True, cost=3.8)
