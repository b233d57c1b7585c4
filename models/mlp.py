"""The permutation-invariant MLP pair of Salimans et al. 2016 (MNIST), code: train_mnist_feature_matching.py."""
import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from config import Spec
from ops import GaussianNoise, Pixels, ShiftBatchNorm, Verdict, at_least_float32, verdict, weight_norm

N_Z = 100


class Size(NamedTuple):
    """Widths of the layers and deviations of the noise."""

    widths: tuple[int, ...]  # of the discriminator's hidden layers
    noise: float  # on the pixels
    between: float = 0.5  # the discriminator's layers
    generator: int = 500  # width of its two layers


PUBLISHED = Size((1000, 500, 250, 250, 250), 0.3)
SMALL = Size((500, 250, 250), 0.15)  # ours, for images of fewer than 256 pixels: noise of 0.3 hides an 8 x 8 digit
POINTS = Size((100, 100, 100), 0.02, 0.1, 100)  # ours, for points: noise between the layers of 0.5 blurs the rings


def size_of(spec: Spec) -> Size:
    return POINTS if spec.points else PUBLISHED if math.prod(spec.shape) >= 256 else SMALL


class Discriminator(nn.Module):
    """Noise on pixels in [0, 1], then dense ReLU layers with noise between them. The features are the last ReLU
    before its noise [B, 250]; only the last layer's scale is trained; weights start as N(0, 0.1^2)."""

    pixels = Pixels(0, 255)

    def __init__(self, spec: Spec, logits: int):
        super().__init__()
        self.classes = spec.classes
        size = size_of(spec)
        sizes = (math.prod(spec.shape), *size.widths)
        deviations = (size.noise, *[size.between] * len(size.widths))
        self.noise = nn.ModuleList(GaussianNoise(sigma) for sigma in deviations)
        self.hidden = nn.ModuleList(weight_norm(nn.Linear(a, b), std=0.1, eps=0.0)
                                    for a, b in itertools.pairwise(sizes))
        self.head = weight_norm(nn.Linear(sizes[-1], logits), std=0.1, train_scale=True, eps=0.0)

    def forward(self, x: Tensor) -> Verdict:
        h = x.flatten(1)
        for noise, layer in zip(self.noise, self.hidden, strict=False):
            h = functional.relu(layer(noise(h)))
        return verdict(self.head(self.noise[-1](h)), h, self.classes)


class Generator(nn.Module):
    """z ~ U[0, 1)^100 -> two dense layers with shift-only batch norm and softplus -> sigmoid pixels (softplus ones in
    ImprovedGAN-pytorch)."""

    def __init__(self, spec: Spec, output: str = "sigmoid"):
        super().__init__()
        self.pixel = {"sigmoid": torch.sigmoid, "softplus": functional.softplus}[output]
        height, width, channels = spec.shape
        self.shape = (channels, height, width)
        inner = size_of(spec).generator
        self.hidden = nn.ModuleList(nn.Linear(a, inner, bias=False) for a in (N_Z, inner))
        self.norms = nn.ModuleList(ShiftBatchNorm(inner) for _ in self.hidden)
        for layer in self.hidden:
            nn.init.xavier_uniform_(layer.weight)
        self.out = weight_norm(nn.Linear(inner, math.prod(self.shape)), std=0.1, train_scale=True, init_std=None)

    def prior(self, n: int, device: torch.device | str) -> Tensor:
        return torch.rand(n, N_Z, device=device)

    def forward(self, z: Tensor) -> Tensor:
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            z = functional.softplus(norm(layer(z)))
        return self.pixel(at_least_float32(self.out(z))).unflatten(1, self.shape)


def build(spec: Spec, head: str = "implicit", generator_output: str = "sigmoid") -> dict[str, nn.Module]:
    """MLPs for images of any shape, pixels in [0, 1]."""
    return {"D": Discriminator(spec, spec.logits(head)), "G": Generator(spec, generator_output)}
