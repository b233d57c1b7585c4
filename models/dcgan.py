"""The pair of DCGAN-Tensorflow (shaohua0116, c49b980), which SSGAN-Tensorflow had before its size-adaptive one: another
kind than models/ssgan.py. The generator is four transposed convolutions without padding, from one pixel on; the
discriminator three 5x5 convolutions with dropout and one dense layer.

Repaired: the generator's batch norm works (there its result was thrown away), and both nets' running averages are used
in evaluation (there: training mode always). There it has 28 and 32 pixels; the rule that gives its kernels there gives
those of other multiples of 4.
"""
import itertools
import math

import torch
from torch import Tensor, nn

from config import Spec, UserError
from ops import Dropout, Pixels, SameConv2d, Verdict, at_least_float32, verdict


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


def _start(layer: nn.Module) -> nn.Module:
    nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)
    nn.init.zeros_(layer.bias)
    return layer


class Discriminator(nn.Module):
    """Three times 5x5 convolution with stride 2 -> leaky ReLU 0.2 -> batch norm -> dropout 0.5 to 64, 128 and 256 maps
    (half as many of a grey image); all of the last ones are the features, dense logits."""

    pixels = Pixels(127.5, 127.5)

    def __init__(self, spec: Spec, logits: int):
        super().__init__()
        self.classes = spec.classes
        size, _, channels = spec.shape
        first = 32 if channels == 1 else 64
        widths = [channels, first, 2 * first, 4 * first]
        layers = []
        for a, b in itertools.pairwise(widths):
            layers += [_start(SameConv2d(a, b, 5, stride=2)), nn.LeakyReLU(0.2), _norm(b), Dropout(0.5)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(math.ceil(size / 8) ** 2 * widths[-1], logits)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Verdict:
        features = self.body(x)
        return verdict(self.head(features), features, self.classes)


def kernels(size: int) -> tuple[int, int, int, int]:
    """Of the transposed convolutions, whose strides are 1, 2, 2, 2, from one pixel to `size`, a multiple of 4 from 16
    up: the last two have 4 and 6, the second 3 or 4 (2 for 16 pixels), the first what is left."""
    third = (size - 8) // 4  # pixels that reach the third
    first = max(1, (third - 1) // 2)
    return first, third - 2 * (first - 1), 4, 6


class Generator(nn.Module):
    """z ~ U(-1, 1)^n_z as one pixel -> four transposed convolutions, of 384, 128, 64 maps and the image (100, 25, 6 of
    a grey one), with ReLU and then batch norm behind the first three and tanh behind the last."""

    def __init__(self, spec: Spec, n_z: int):
        super().__init__()
        self.n_z = n_z
        size, _, channels = spec.shape
        widths = [n_z, *((100, 25, 6) if channels == 1 else (384, 128, 64)), channels]
        up = [_start(nn.ConvTranspose2d(a, b, kernel, stride)) for (a, b), kernel, stride in zip(
            itertools.pairwise(widths), kernels(size), (1, 2, 2, 2), strict=True)]
        self.up = nn.Sequential(*[layer for conv in up[:-1] for layer in (conv, nn.ReLU(), _norm(conv.out_channels))],
                                up[-1])

    def prior(self, n: int, device: torch.device | str) -> Tensor:
        return torch.rand(n, self.n_z, device=device) * 2 - 1

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(at_least_float32(self.up(z[:, :, None, None])))


def build(spec: Spec, head: str = "implicit", n_z: int = 100) -> dict[str, nn.Module]:
    """Nets for square images of 16, 20, ... 64 pixels, pixels in [-1, 1]."""
    height, width, _ = spec.shape
    if height != width or height not in range(16, 65, 4):
        raise UserError(f"--model dcgan takes square images of 16, 20, ... 64 pixels; {spec.name} is {height}x{width}. "
                        f"Use --model ssgan or mlp")
    return {"D": Discriminator(spec, spec.logits(head)), "G": Generator(spec, n_z)}
