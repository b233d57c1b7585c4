"""A GAN that regularises its classifier along the manifold of its own images (Lecouat, Foo, Zenati, Chandrasekhar 2018,
"Manifold regularization with GANs for semi-supervised learning"; settings from its code, bruno-31/gan-manifold-reg at
118c251, train_cifar.py and train_svhn.py): `improved-gan` and

    L_D = that of improved-gan + gamma E sum_k smooth |l_k(G(z)) - l_k(x')|
    x'  = G(z) + epsilon r / |r|,  r = G(z + eta u) - G(z),  u a random unit vector;  L_G = that of improved-gan

l are the K logits. G(z) and x' see dropout of their own, as in the code: a part of what is punished is the spread under
dropout. Conv nets end in a maximum over the places, not a mean (--pool), and all scales of their weight norm are
trained, from 1 (--scales; nn.py computes a data-dependent initialisation and does not use it). CIFAR10 is mirrored and
moved by up to 2 pixels.

Where this differs from the code, and why:
- as `improved-gan` does: the generator's batch norm shifts without a gain, with an eps of 1e-6 (the code: 1e-3), and
  always uses batch statistics, a bias-corrected average, bfloat16 products, its Adam, whose eps stands inside the root,
  and pixels (x - 127.5) / 128 (the code: / 127.5);
- SVHN has conv-small's 64 and 128 maps; the code takes the network of CIFAR10;
- the labels are as many as `improved-gan` has (the code's default is 1000 for both data sets);
- images of other sizes and ranges take an epsilon that is the same share of the distance from black to white. The MLP,
  begun as that of `improved-gan`, and the short schedules of Digits, MNIST and Fashion are ours.
"""
import dataclasses
import math
from functools import partial
from typing import Annotated, Literal

import torch

import losses
import ops
from config import GanConfig, Spec, Within

from . import improved_gan
from .player import Player, Recipe

CITATION = ("Lecouat et al. 2018, Manifold regularization with GANs for semi-supervised learning, arXiv:1807.04307")
PUBLISHED = {"SVHN": {"batch_size": 50, "epochs": 400.0, "decay_from": 399 / 400},
             "CIFAR10": {"batch_size": 25, "epochs": 1400.0, "decay_from": 1200 / 1400, "flip": True, "shift": 2}}
BLACK_TO_WHITE = 2 * math.sqrt(32 * 32 * 3)  # of the published images, whose pixels are in [-1, 1]


@dataclasses.dataclass(frozen=True)
class Settings(GanConfig):
    """The regulariser, the network's last pool and its scales."""

    gamma: Annotated[float, Within(0)] = 1e-3
    """Weight of the regulariser."""
    epsilon: Annotated[float, Within(0)] = 20.0
    """Length of the step from a generated image along the manifold, in the range of the pixels that D sees."""
    eta: Annotated[float, Within(0)] = 1.0
    """Length of the step of z that gives the direction along the manifold."""
    pool: Literal["average", "max"] = "max"
    """Global pool of conv-small."""
    scales: Literal["standardised", "trained"] = "trained"
    """Scales of conv-small's weight norm. trained: all start at 1 and are trained.
    standardised: set by the data-dependent initialisation; only the last layer's is trained."""


def published(spec: Spec) -> dict:
    base = improved_gan.published(spec)
    height, width, channels = spec.shape
    reach = (1 if base["model"] == "mlp" else 2) * math.sqrt(height * width * channels)
    return {**base, "epsilon": round(20 * reach / BLACK_TO_WHITE, 2), **PUBLISHED.get(spec.name, {})}


def discriminator(nets, b, gamma, epsilon, eta):
    D, G = nets["D"], nets["G"]
    generated = ops.sample(G, b.z)
    nearby = ops.sample(G, losses.step_towards(b.z, b.z + ops.normal_like(b.z), eta))
    moved = losses.step_towards(generated, nearby, epsilon)
    # Both are generated, so they are judged together where D has batch statistics.
    labelled, real, fakes = ops.verdicts(D, [b.x_lab, b.x_unl], torch.cat([generated, moved]))
    fake, beside = (ops.Verdict(*part) for part in zip(*(field.chunk(2) for field in fakes), strict=True))
    return {**improved_gan.terms(b.y_lab, labelled, real, fake),
            "manifold": gamma * losses.smooth_distance(fake.classes, beside.classes)}


def players(cfg: Settings) -> tuple[Player, Player]:
    D, G = improved_gan.plain(cfg)
    loss = partial(discriminator, gamma=cfg.gamma, epsilon=cfg.epsilon, eta=cfg.eta)
    return D._replace(terms=(*D.terms, "manifold"), loss=loss), G


RECIPE = Recipe("manifold-gan", CITATION, Settings, published, players,
                init_images=lambda cfg: "pool" if improved_gan.on_mlp(cfg) or cfg.scales == "standardised" else None)
