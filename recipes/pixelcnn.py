"""PixelCNN++ (Salimans, Karpathy, Chen, Kingma 2017, "PixelCNN++: Improving the PixelCNN with Discretized Logistic
Mixture Likelihood and Other Modifications"; code: openai/pixel-cnn at 0ff8ab5): a density model of the images alone,
without labels and without a game. The low-density term of bad_gan.py asks it how likely a generated image is.

    L_P = E[-log2 p(x)] / dimensions, the bits per dimension, p of models/pixelcnn.py

Where this differs from the code, and why:
- the network is small, for a CPU: 16 filters, 1 block, 2 levels, 5 mixtures. The paper's for CIFAR-10: --filters 160
  --blocks 5 --levels 3 --mixtures 10 --dropout 0.5; ssl_bad_gan's for MNIST and SVHN: 160, 3, 2, 10 and no dropout.
  The dropout is the published one of the data set, the paper's for other sets;
- batches of 50, a rate of 0.003 that falls to 0 over the second half, an average of 0.99 and few epochs, all for a
  training of minutes. The code: 5,000 epochs of batches of 12 on each of 8 GPUs, 0.001 times 0.999995 for each step, an
  average of 0.9995;
- the loss is a mean; Adam's eps, inside the root, is as small as the code's 1e-8 is beside its sum of nats;
- the average is bias-corrected, and sampled colours are rounded;
- the data-dependent initialisation is of 500 images, there of 100;
- mixtures of other than 1 or 3 colours are refused;
- probabilities of bytes are exact however small; the code approximates those below 0.00001.
"""
import dataclasses
from functools import partial
from typing import Annotated

import losses
import ops
from config import Config, Rate, Spec, Within

from .player import Player, Recipe


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """Without labels, and with the sizes of the network."""

    labels: Annotated[int, Within(0, 0)] = 0
    """No image is labelled."""
    learning_rate_d: Rate = 3e-3
    """Learning rate."""
    filters: Annotated[int, Within(1, 4096)] = 16
    """Maps of each of the two streams."""
    blocks: Annotated[int, Within(1, 64)] = 1
    """Residual blocks of each stream on each level."""
    levels: Annotated[int, Within(1, 12)] = 2
    """Sizes of the maps, each half the one before."""
    mixtures: Annotated[int, Within(1, 256)] = 5
    """Logistics in the mixture of a pixel."""
    dropout: Annotated[float, Within(0, 0.99)] = 0.5
    """Share of the maps inside a block that is dropped in training."""


EPS = 1e-8 / 2e5 ** 2  # 96 images of 3072 dimensions have 2e5 times as many nats as bits per dimension
SHORT = {"dropout": 0.0, "epochs": 1.0}
PUBLISHED = {"Digits": {"epochs": 50.0}, "MNIST": SHORT, "Fashion": SHORT, "SVHN": SHORT}


def published(spec: Spec) -> dict:
    """Settings for a data set; but for the dropout they are ours."""
    return {"model": "pixelcnn", "batch_size": 50, "decay_from": 0.5, "average": 0.99,
            **PUBLISHED.get(spec.name, {"epochs": 5.0})}


def density(nets, b):
    log_p = losses.log_likelihood(b.x_unl, *nets["P"](b.x_unl))
    return {"bits_per_dimension": losses.bits_per_dimension(log_p, b.x_unl[0].numel())}


def players(cfg: Settings) -> tuple[Player]:
    return (Player("P", ("P",), ("bits_per_dimension",), density,
                   partial(ops.Adam, lr=cfg.learning_rate_d, betas=(0.95, 0.9995), eps=EPS)),)


RECIPE = Recipe("pixelcnn", "Salimans et al. 2017, PixelCNN++, arXiv:1701.05517", Settings, published, players,
                nets=("P",), init_images=lambda cfg: "pool", evaluated="density", cost=2)
