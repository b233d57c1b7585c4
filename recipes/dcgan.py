"""DCGAN-Tensorflow (shaohua0116/DCGAN-Tensorflow at c49b980): the plain game of generator and discriminator (Goodfellow
et al. 2014; networks after Radford, Metz, Chintala 2015). No labels, and so no classes and no classifier: D has one
logit, of "real". What this recipe is for is images.

    L_D = E[-log D(x)] + E[-0.9 log(1 - D(G(z))) - 0.1 log D(G(z))]
    L_G = E[-log D(G(z))], non-saturating

It takes data sets with labels, which it never sees, and those without.

Repaired, against the original:
- the generator's batch norm was computed and thrown away (models/dcgan.py);
- the learning-rate flags had no effect and the rate was Adam's 0.001: now they have, and 0.001 is the default;
- the generator's tanh stood behind the ReLU that its layer has by default, so that half of its outputs began at 0
  without a gradient; pixels, there in [0, 1], are in [-1, 1] here, with the tanh alone;
- official train and test images were mixed.

Kept: one update of D for five of G, smoothing on the generated side, clipping, batches of 64. The original counts each
single update as a step; its 100,000 are 16,667 steps here, of one update of D and --update_rate updates of G.

Also different: D says "real" where it said "fake"; only real images enter D's running averages. Its README tells of an
annealed reconstruction, which an older model.py (89b094c) has, and which is not here. Sizes that its networks do not
have: multiples of 4 by the same rule, other square images by the pair of ssgan.py; small ones, or not square, by the
MLP pair, whose batch norm always takes batch statistics, with settings that are ours.
"""
import dataclasses
from functools import partial
from typing import Annotated, Literal

import torch

import losses
import ops
from config import GanConfig, Share, Spec, Updates, Within

from . import improved_gan
from .player import Player, Recipe


@dataclasses.dataclass(frozen=True)
class Settings(GanConfig):
    """Without labels, and with the constants of the reference's model.py."""

    labels: Annotated[int, Within(0, 0)] = 0
    """No image is labelled."""
    head: Literal["implicit"] = "implicit"
    """One logit, of "real": there is no fake class."""
    n_z: Annotated[int, Within(1, 65536)] = 100
    """Length of the latent vector (--model dcgan or ssgan)."""
    update_rate: Updates = 5
    """Updates of the generator per update of the discriminator."""
    confidence: Share = 0.9
    """Target probability of "fake" on generated images (label smoothing; 1: none)."""
    clip: Annotated[float, Within(0)] = 20.0
    """Largest global norm of each net's gradient (0: not clipped)."""


def published(spec: Spec) -> dict:
    shared = {"batch_size": 64, "learning_rate_d": 1e-3, "learning_rate_g": 1e-3, "average": 0.0}
    height, width, _ = spec.shape
    if height != width or height < 16:
        return {**shared, "model": "mlp", "update_rate": 1, "epochs": 100.0}
    return {**shared, "model": "dcgan" if height in range(16, 65, 4) else "ssgan", "steps": 16_667}


def discriminator(nets, b, confidence):
    real, fake = ops.verdicts(nets["D"], [b.x_unl], ops.sample(nets["G"], b.z))
    return {"real": losses.taken_for_real(real.real), "fake": losses.smoothed_fake(fake.real, confidence)}


def generator(nets, b):
    return {"adversarial": losses.taken_for_real(ops.verdict_on_fake(nets["D"], nets["G"](b.z)).real)}


def players(cfg: Settings) -> tuple[Player, Player]:
    D, G = improved_gan.game(cfg, partial(discriminator, confidence=cfg.confidence), ("real", "fake"), generator,
                             ("adversarial",), partial(torch.optim.Adam, fused=True))
    return D._replace(clip=cfg.clip), G._replace(times=cfg.update_rate, clip=cfg.clip)


RECIPE = Recipe("dcgan", "shaohua0116/DCGAN-Tensorflow (2017), https://github.com/shaohua0116/DCGAN-Tensorflow",
                Settings, published, players, init_images=lambda cfg: "pool", evaluated="discriminator")
