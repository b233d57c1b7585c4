"""SSGAN-Tensorflow (clvrai/SSGAN-Tensorflow at 1323a53), made semi-supervised: a K+1 softmax discriminator trained on
few labels and on unlabelled images, a saturating generator loss and an annealed reconstruction.

    L_D = -E log p(y | x, real) + E[-log D(x_unl)] + CE_{K+1}(G(z); 0.9 on fake, the rest spread over the classes)
    L_G = E log p(fake | G(z)) + w(s) E Huber(x_unl, G(z)),  w(s) = 10 (1 - s / 1500) until s = 1500, then 0

Repaired, against the original:
- every label was used; now only the labelled images' are, and unlabelled images enter by D(x) = p(not fake);
- G's loss read a sigmoid of the fake logit while D trained a softmax; both are the softmax here;
- the learning-rate flags had no effect and the rate was Adam's 0.001: now they have, and 0.001 is the default;
- the weight of the reconstruction started again on resume: now it follows the step in the checkpoint;
- official train and test images were mixed; batch norm ran on batch statistics in evaluation (models/ssgan.py).

Also different: labelled and unlabelled images are normalised together; resizing and transposed convolutions align
pixels as PyTorch does; a run is 20 epochs, not 10 million updates; images under 16 pixels, or not square, take the MLP
pair.

The original counts each single update as a step; here a step is one update of D and --update_rate updates of G.
"""
import dataclasses
from functools import partial
from typing import Annotated, Literal

import torch

import losses
import ops
from config import Count, GanConfig, Share, Spec, Within

from .player import Player, Recipe

LABELS = {"Digits": 50, "Circles": 6, "MNIST": 100, "Fashion": 100, "SVHN": 1000, "CIFAR10": 4000}


@dataclasses.dataclass(frozen=True)
class Settings(GanConfig):
    """Flags of the reference trainer, and the constants of its model.py."""

    n_z: Count = 128
    """Length of the latent vector."""
    norm_type: Literal["batch", "instance", "none"] = "batch"
    """Normalisation of both nets."""
    deconv_type: Literal["bilinear", "nn", "transpose"] = "bilinear"
    """Upsampling of the generator."""
    update_rate: Count = 1
    """Updates of the generator per update of the discriminator."""
    confidence: Share = 0.9
    """Target probability of the fake class on generated images (label smoothing; 1: none)."""
    clip: Annotated[float, Within(0)] = 20.0
    """Largest global norm of each net's gradient (0: not clipped)."""
    reconstruction: Annotated[float, Within(0)] = 10.0
    """Weight of the reconstruction at the first step."""
    reconstruction_steps: Count = 1500
    """Updates, of either net, over which that weight falls to 0."""


def published(spec: Spec) -> dict:
    height, width, _ = spec.shape
    model = "ssgan" if height == width and 16 <= height <= 256 else "mlp"
    return {"model": model, "head": "explicit", "labels": LABELS.get(spec.name, 10 * spec.classes),
            "epochs": 20.0, "batch_size": 32, "learning_rate_d": 1e-3, "learning_rate_g": 1e-3, "average": 0.0}


def discriminator(nets, b, confidence):
    D, G = nets["D"], nets["G"]
    labelled, real, fake = ops.judge(D, [b.x_lab, b.x_unl], ops.sample(G, b.z))
    k_plus_1 = losses.all_logits(fake.classes, fake.real)
    return {"supervised": losses.cross_entropy(labelled.classes, b.y_lab),
            "real": losses.taken_for_real(real.real),
            "fake": losses.smoothed_cross_entropy(k_plus_1, k_plus_1.shape[1] - 1, confidence)}


def generator(nets, b, start, steps):
    generated = nets["G"](b.z)
    fake = ops.judge_fake(nets["D"], generated)
    return {"adversarial": -losses.taken_for_fake(fake.real),
            "reconstruction": losses.annealed(start, b.step, steps) * losses.huber(generated, b.x_unl)}


def players(cfg: Settings) -> tuple[Player, Player]:
    adam = partial(torch.optim.Adam, betas=(0.5, 0.999), eps=1e-8, fused=True)
    # The annealing is counted in updates, of which a step has 1 + update_rate.
    steps = cfg.reconstruction_steps / (1 + cfg.update_rate)
    return (Player("D", ("D",), ("supervised", "real", "fake"), partial(discriminator, confidence=cfg.confidence),
                   partial(adam, lr=cfg.learning_rate_d), clip=cfg.clip),
            Player("G", ("G",), ("adversarial", "reconstruction"),
                   partial(generator, start=cfg.reconstruction, steps=steps),
                   partial(adam, lr=cfg.learning_rate_g), times=cfg.update_rate, clip=cfg.clip))


RECIPE = Recipe("ssgan", "clvrai/SSGAN-Tensorflow (2017-2018), https://github.com/clvrai/SSGAN-Tensorflow", Settings,
                published, players)
