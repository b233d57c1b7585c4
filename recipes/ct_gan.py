"""CT-GAN's classifier (Wei, Gong, Liu, Lu, Wang 2018, "Improving the Improved Training of Wasserstein GANs: A
Consistency Term and Its Dual Effect", the semi-supervised part; settings from its code, biuyq/CT-GAN: CT_MNIST.py at
21ee36e, CT_CIFAR.py at 27ef517, as it lacks a bracket at the former): `improved-gan` and a consistency of two passes of
the same real images under dropout (CT, the paper's eq. 5 by issue 7 of biuyq/CT-GAN).

    L_D = that of improved-gan + 1/2 CT(softmax l(x_unl)) + 1/20 CT(f(x_unl))
    L_G = that of improved-gan,   CT(a) = mean of (a - a')^2, a' from the second pass, f the pooled features

For the MLP the code compares the last layer only, and more weakly: L_D = that of improved-gan + 1/20 CT(softmax l).

Other settings of CT_CIFAR.py: a wider network and a z of 50 (--model conv-wide), images in [-0.5, 0.5] beside generated
ones in [-1, 1], mirrored and moved by up to 2 pixels, constant rates, 1000 epochs. The second pass sees the same
mirrored and moved image with other dropout.

Where this differs from the code, and why:
- as `improved-gan` does: bias-corrected average, bfloat16 products, its settings for Digits, MNIST and Fashion (short
  schedules, no moves) and its start of the MLP generator;
- the other script for CIFAR-10, CT_CIFAR-10_TE.py, compares with an average of earlier outputs instead, and is not
  here;
- the images of the data-dependent initialisation are not padded;
- G's features of real images carry no gradient, as only G is moved;
- SVHN has no published settings: it takes those of CIFAR10 without mirroring, which digits do not survive. A data set
  of your own is moved, but not mirrored either, and has 200 epochs.
"""
from config import GanConfig, Spec

from . import improved_gan
from .player import Player, Recipe

CITATION = ("Wei et al. 2018, Improving the Improved Training of Wasserstein GANs: A Consistency Term and Its Dual "
            "Effect, arXiv:1803.01541")
CONSISTENCY = {"consistency": 0.5, "feature_consistency": 0.05}
CONSISTENCY_MLP = {"consistency": 0.05}


def published(spec: Spec) -> dict:
    base = improved_gan.published(spec)
    if base["model"] == "mlp":
        return base
    epochs = 1000.0 if spec.name in ("SVHN", "CIFAR10") else base["epochs"]
    return {**base, "model": "conv-wide", "epochs": epochs, "decay_from": 1.0, "flip": spec.name == "CIFAR10",
            "shift": 2}


def players(cfg: GanConfig) -> tuple[Player, Player]:
    factors = CONSISTENCY_MLP if improved_gan.on_mlp(cfg) else CONSISTENCY
    D, G = improved_gan.plain(cfg)
    return improved_gan.with_terms(D, factors), G


RECIPE = Recipe("ct-gan", CITATION, GanConfig, published, players, init_images=improved_gan.init_images)
