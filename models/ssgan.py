"""The size-adaptive pair of SSGAN-Tensorflow (discriminator.py and generator.py at 1323a53), for images of any size.

Repaired: running averages of batch norm are kept and used in evaluation (the original always used batch statistics);
they follow with momentum 0.01, not 0.001, so that short runs have them too; instance norm works; so do sizes over 64,
and images that are not square: the discriminator halves both sides until both are one pixel (there the shorter one
alone, and what was left of the longer one stayed in the logits).
"""
import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from config import Spec, UserError
from ops import Pixels, SameConv2d, Verdict, at_least_float32, resized, verdict

WIDTHS = (32, 64, 128, 256, 256)  # of the first halvings; 512 of all later ones


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
    if kind == "none":
        return nn.Identity()
    layer = nn.InstanceNorm2d(channels, eps=1e-6, affine=True)
    nn.init.normal_(layer.weight, 1.0, 0.02)
    nn.init.normal_(layer.bias, 0.0, 0.02)
    return layer


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    layer = SameConv2d(inputs, outputs, kernel, stride)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Discriminator(nn.Module):
    """Stride-2 3x3 convolutions down to 1x1, each conv -> leaky ReLU 0.2 -> norm, then 1x1 to a quarter of the width
    (the features) and 1x1 to the logits."""

    pixels = Pixels(127.5, 127.5)

    def __init__(self, spec: Spec, logits: int, norm_type: str):
        super().__init__()
        self.classes = spec.classes
        sizes = _halvings(max(spec.shape[:2]))
        widths = [*WIDTHS, *[512] * len(sizes)][:len(sizes)]
        layers = []
        for a, b, size in zip((spec.shape[2], *widths), widths, sizes, strict=False):
            # One value per map has no statistics of its own, so instance norm would return its offset alone.
            kind = "none" if norm_type == "instance" and size == 1 else norm_type
            layers += [_conv(a, b, 3, stride=2), nn.LeakyReLU(0.2), _norm(kind, b)]
        self.body = nn.Sequential(*layers, _conv(widths[-1], widths[-1] // 4, 1), nn.LeakyReLU(0.2), nn.Flatten())
        self.head = nn.Linear(widths[-1] // 4, logits)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Verdict:
        features = self.body(x)
        return verdict(self.head(features), features, self.classes)


def _halvings(size: int) -> list[int]:
    """What is left of the longer side after each halving, rounded up, down to one pixel."""
    sizes = []
    while size > 1:
        size = math.ceil(size / 2)
        sizes.append(size)
    return sizes


def _start_transposed(layer: nn.Module) -> None:
    nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)


class Up(nn.Module):
    """Twice the size: bilinear or nearest resize and a 3x3 convolution, or a stride-2 transposed one."""

    def __init__(self, inputs: int, outputs: int, deconv_type: str):
        super().__init__()
        self.how = deconv_type
        if deconv_type != "transpose":
            self.conv = _conv(inputs, outputs, 3)
        else:
            self.conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
            _start_transposed(self.conv)
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "transpose":
            return self.conv(x)
        twice = [2 * side for side in x.shape[2:]]
        return self.conv(resized(x, twice) if self.how == "bilinear" else functional.interpolate(x, twice))


class Generator(nn.Module):
    """z ~ U(-1, 1) -> dense 1024 -> doublings from 1x1, each up -> ReLU -> norm with half the maps of the one before
    -> 1x1 convolution, tanh -> resize to the exact height and width."""

    def __init__(self, spec: Spec, n_z: int, deconv_type: str, norm_type: str):
        super().__init__()
        self.n_z, self.size = n_z, spec.shape[:2]
        channels = spec.shape[2]
        doublings = len(_halvings(max(self.size)))
        widths = [1024] + [max(512 >> i, channels) for i in range(doublings)]
        self.dense = nn.Linear(n_z, 1024)
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.up = nn.Sequential(*[layer for a, b in itertools.pairwise(widths)
                                  for layer in (Up(a, b, deconv_type), nn.ReLU(), _norm(norm_type, b))])
        self.out = _conv(widths[-1], channels, 1)
        if deconv_type == "transpose":  # of one pixel, it is a convolution
            _start_transposed(self.out)

    def prior(self, n: int, device: torch.device | str) -> Tensor:
        return torch.rand(n, self.n_z, device=device) * 2 - 1

    def forward(self, z: Tensor) -> Tensor:
        maps = functional.leaky_relu(self.dense(z), 0.2)[:, :, None, None]
        image = torch.tanh(at_least_float32(self.out(self.up(maps))))
        if image.shape[-2:] == self.size:
            return image
        return resized(image, self.size)


def build(spec: Spec, head: str = "implicit", n_z: int = 128, deconv_type: str = "bilinear",
          norm_type: str = "batch") -> dict[str, nn.Module]:
    """Nets for images of two pixels or more, pixels in [-1, 1]."""
    if max(spec.shape[:2]) < 2:
        raise UserError(f"--model ssgan takes images of two pixels or more; {spec.name} is 1x1. Use --model mlp")
    return {"D": Discriminator(spec, spec.logits(head), norm_type),
            "G": Generator(spec, n_z, deconv_type, norm_type)}
