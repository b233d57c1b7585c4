"""SSGAN-Tensorflow (clvrai/SSGAN-Tensorflow), made semi-supervised: a K+1 softmax discriminator trained on few labels
and on unlabelled images, a saturating generator loss and an annealed reconstruction.

    L_D = -E log p(y | x, real) + E[-log D(x_unl)] + CE_{K+1}(G(z); 0.9 on fake, the rest spread over the classes)
    L_G = E log p(fake | G(z)) + w(s) E Huber(x_unl, G(z)),  w(s) = 10 (1 - s / 1500) until s = 1500, then 0

Its published generations, by flag:
- November 2018 (1323a53), networks for any image size: the default. --deconv_type and --norm_type choose upsampling and
  normalisation; 10 million updates are --steps 5000000;
- 2017 (f3aadb7), four transposed convolutions against three with dropout, for square images of 16, 20, ... 64 pixels:
  --model dcgan --n_z 100 --update_rate 5 --batch_size 64; a million updates are --steps 166667;
- June 2017, of which its published curves are, the same and --outputs sigmoid --reconstruction_end 0.01 (for a while,
  at 0aebe42, --reconstruction 50 --reconstruction_steps 3000 --reconstruction_end 0.05). Each of the K+1 outputs is
  then a sigmoid of its own, that of "fake" f:

    L_D = mean of K binary cross-entropies of x_lab + BCE(f(x_unl); 0) + BCE(f(G(z)); 0.9)
    L_G = BCE(f(G(z)); 0) + w(s) E Huber(x_unl, G(z)),  non-saturating, w not below 0.01

  What the evaluator says of such a run reads the outputs as a softmax all the same; the classes in their order stay.

All of them smooth the generated side (--confidence); the README tells of the real side, which is --smoothing, as
--smoothing 0.1 --confidence 1. It also tells of more updates of the generator (--update_rate); more of the
discriminator are --update_rate_d.

Repaired, against the original:
- every label was used; now only the labelled images' are, and unlabelled images enter by D(x) = p(not fake);
- in 2018 G's loss read a sigmoid of the fake logit while D trained a softmax; both are the softmax here;
- the learning-rate flags had no effect and the rate was Adam's 0.001: now they have, and 0.001 is the default;
- the weight of the reconstruction started again on resume: now it follows the step in the checkpoint;
- official train and test images were mixed; batch norm ran on batch statistics in evaluation (models/ssgan.py), and
  until November 2017 G's had no effect (models/dcgan.py).

Also different: labelled and unlabelled images are normalised together; resizing and transposed convolutions align
pixels as PyTorch does; pixels are in [-1, 1] in 2017 too, where they were in [0, 1] and G ended in the tanh of a ReLU
(recipes/dcgan.py), so that the same weight of the reconstruction is up to four times as much; a run is 20 epochs, of
MNIST and Fashion 10, short ones for a CPU; images under 16 pixels along a side take the MLP pair, unless --model says
otherwise.

The original counts each single update as a step; here a step is --update_rate_d updates of D and --update_rate of G.
"""
import dataclasses
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor

import losses
import ops
from config import Count, GanConfig, Share, Spec, Updates, UserError, Within

from . import improved_gan
from .player import Player, Recipe


@dataclasses.dataclass(frozen=True)
class Settings(GanConfig):
    """Flags of the reference trainer, and the constants of its model.py."""

    n_z: Annotated[int, Within(1, 65536)] = 128
    """Length of the latent vector (--model ssgan or dcgan)."""
    norm_type: Literal["batch", "instance", "none"] = "batch"
    """Normalisation of both nets (--model ssgan)."""
    deconv_type: Literal["bilinear", "nn", "transpose"] = "bilinear"
    """Upsampling of the generator (--model ssgan)."""
    outputs: Literal["softmax", "sigmoid"] = "softmax"
    """The K+1 outputs: a softmax, with a saturating generator loss, or a sigmoid each, with a non-saturating one."""
    update_rate: Updates = 1
    """Updates of the generator in a step."""
    update_rate_d: Updates = 1
    """Updates of the discriminator in a step."""
    confidence: Share = 0.9
    """Target probability of the fake class on generated images (label smoothing; 1: none)."""
    smoothing: Share = 0.0
    """Target probability of the fake class on unlabelled real images (one-sided label smoothing; 0: none)."""
    clip: Annotated[float, Within(0)] = 20.0
    """Largest global norm of each net's gradient (0: not clipped)."""
    reconstruction: Annotated[float, Within(0)] = 10.0
    """Weight of the reconstruction at the first step."""
    reconstruction_steps: Count = 1500
    """Updates, those of D and G together, over which that weight falls to 0."""
    reconstruction_end: Annotated[float, Within(0)] = 0.0
    """Weight at which that fall ends."""


def published(spec: Spec) -> dict:
    model = "ssgan" if min(spec.shape[:2]) >= 16 else "mlp"
    epochs = 10.0 if spec.name in ("MNIST", "Fashion") else 20.0
    return {"model": model, "head": "explicit", "labels": improved_gan.published(spec)["labels"], "epochs": epochs,
            "batch_size": 32, "learning_rate_d": 1e-3, "learning_rate_g": 1e-3, "average": 0.0}


def not_fake(said: ops.Verdict) -> Tensor:
    """The logit of "real" [B] of outputs that are a sigmoid each: less the fake logit, whatever the classes are."""
    return -losses.all_logits(said.classes, said.real)[:, -1]


def discriminator(nets, b, outputs, confidence, smoothing):
    D, G = nets["D"], nets["G"]
    labelled, real, fake = ops.verdicts(D, [b.x_lab, b.x_unl], ops.sample(G, b.z))
    if outputs == "sigmoid":
        return {"supervised": losses.binary_cross_entropies(labelled.classes, b.y_lab),
                "real": losses.smoothed_real(not_fake(real), smoothing),
                "fake": losses.smoothed_fake(not_fake(fake), confidence)}
    k_plus_1 = losses.all_logits(fake.classes, fake.real)
    return {"supervised": losses.cross_entropy(labelled.classes, b.y_lab),
            "real": losses.smoothed_real(real.real, smoothing),
            "fake": losses.smoothed_cross_entropy(k_plus_1, k_plus_1.shape[1] - 1, confidence)}


def generator(nets, b, outputs, start, steps, end):
    generated = nets["G"](b.z)
    fake = ops.verdict_on_fake(nets["D"], generated)
    saturating = outputs == "softmax"
    return {"adversarial": -losses.taken_for_fake(fake.real) if saturating else losses.taken_for_real(not_fake(fake)),
            "reconstruction": losses.annealed(start, b.step, steps, end) * losses.huber(generated, b.x_unl)}


def players(cfg: Settings) -> tuple[Player, Player]:
    if cfg.outputs == "sigmoid" and cfg.head == "implicit":
        raise UserError("--outputs sigmoid: needs an output of \"fake\"; use --head explicit")
    # The annealing is counted in updates.
    steps = cfg.reconstruction_steps / (cfg.update_rate_d + cfg.update_rate)
    D, G = improved_gan.game(
        cfg, partial(discriminator, outputs=cfg.outputs, confidence=cfg.confidence, smoothing=cfg.smoothing),
        ("supervised", "real", "fake"),
        partial(generator, outputs=cfg.outputs, start=cfg.reconstruction, steps=steps, end=cfg.reconstruction_end),
        ("adversarial", "reconstruction"), partial(torch.optim.Adam, fused=True))
    return D._replace(times=cfg.update_rate_d, clip=cfg.clip), G._replace(times=cfg.update_rate, clip=cfg.clip)


RECIPE = Recipe("ssgan", "clvrai/SSGAN-Tensorflow (2017-2018), https://github.com/clvrai/SSGAN-Tensorflow", Settings,
                published, players)
