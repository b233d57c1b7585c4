"""The conv-small pair of Salimans et al. 2016 (SVHN, CIFAR-10), code: train_{svhn,cifar}_feature_matching.py; and the
conv-wide pair of Wei et al. 2018, the same with more maps and a shorter z, code: CT_CIFAR.py of biuyq/CT-GAN."""
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from config import Spec, UserError
from ops import Dropout, Pixels, ShiftBatchNorm, Verdict, at_least_float32, verdict, weight_norm

N_Z = 100
WIDE = (128, 256, 512, 256, 128)
WIDE_N_Z = 50

Pool = Literal["average", "max"]
Scales = Literal["standardised", "trained"]


class Discriminator(nn.Module):
    """Dropout 0.2, 3 convolutions of a maps, dropout 0.5, 3 of b, dropout 0.5, then without padding 3x3 to c, 1x1 to
    d and 1x1 to e; a global pool (the features [B, e]), dense logits. Weights N(0, 0.05^2), leaky ReLU 0.2; only the
    last layer's scale is trained, or all. `widths` is (a, b, c, d, e)."""

    def __init__(self, spec: Spec, logits: int, widths: tuple[int, ...], pixels: Pixels, pool: Pool = "average",
                 scales: Scales = "standardised"):
        super().__init__()
        _conv = partial(_convolution, train_scale=scales == "trained")
        self.classes, self.pixels, self.pool = spec.classes, pixels, pool
        a, b, c, d, e = widths
        self.body = nn.Sequential(
            Dropout(0.2),
            *_conv(spec.shape[2], a), *_conv(a, a), *_conv(a, a, stride=2),
            Dropout(0.5),
            *_conv(a, b), *_conv(b, b), *_conv(b, b, stride=2),
            Dropout(0.5),
            *_conv(b, c, padding=0), *_conv(c, d, kernel=1, padding=0), *_conv(d, e, kernel=1, padding=0))
        self.head = weight_norm(nn.Linear(e, logits), std=0.05, train_scale=True, init_std=0.1)

    def forward(self, x: Tensor) -> Verdict:
        maps = self.body(x)
        features = maps.amax((2, 3)) if self.pool == "max" else maps.mean((2, 3))
        return verdict(self.head(features), features, self.classes)


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1, *,
                 train_scale: bool) -> list[nn.Module]:
    layer = weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding), std=0.05, train_scale=train_scale)
    return [layer, nn.LeakyReLU(0.2)]


class Generator(nn.Module):
    """z ~ U[0, 1)^n_z -> dense to 512 maps of an eighth of the size, normalised per unit before the reshape ->
    5x5 deconvolutions to 256, 128 and the image, tanh. Weights N(0, 0.05^2); shift-only batch norm, or those `norms`
    of units and of maps."""

    def __init__(self, spec: Spec, n_z: int = N_Z, norms: tuple[type, type] = (ShiftBatchNorm, ShiftBatchNorm)):
        super().__init__()
        self.n_z = n_z
        height, width, channels = spec.shape
        self.start = (512, height // 8, width // 8)
        units = 512 * (height // 8) * (width // 8)
        self.dense, self.norm = nn.Linear(n_z, units, bias=False), norms[0](units)
        self.up = nn.Sequential(_deconv(512, 256, bias=False), norms[1](256), nn.ReLU(),
                                _deconv(256, 128, bias=False), norms[1](128), nn.ReLU())
        for layer in (self.dense, self.up[0], self.up[3]):
            nn.init.normal_(layer.weight, std=0.05)
        self.out = weight_norm(_deconv(128, channels), std=0.05, train_scale=True, init_std=0.1)

    def prior(self, n: int, device: torch.device | str) -> Tensor:
        return torch.rand(n, self.n_z, device=device)

    def forward(self, z: Tensor) -> Tensor:
        maps = functional.relu(self.norm(self.dense(z))).unflatten(1, self.start)
        return torch.tanh(at_least_float32(self.out(self.up(maps))))


def _deconv(inputs: int, outputs: int, bias: bool = True) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1, bias=bias)


def build(spec: Spec, head: str = "implicit", pool: Pool = "average",
          scales: Scales = "standardised") -> dict[str, nn.Module]:
    """Conv nets for sizes that are multiples of 8, at least 16. SVHN: 64 and 128 maps, pixels (x - 127.5) / 127.5;
    else 96 and 192 maps; CIFAR-10's code divides by 128."""
    check_size(spec, "conv-small")
    D = Discriminator(spec, spec.logits(head), widths(64 if spec.name == "SVHN" else 96), pixels(spec), pool, scales)
    return {"D": D, "G": Generator(spec)}


def build_wide(spec: Spec, head: str = "implicit") -> dict[str, nn.Module]:
    """The same for the same sizes, with up to 512 maps and a z of 50. Images are in [-0.5, 0.5], as in its
    cifar10_data.py, generated ones in [-1, 1]."""
    check_size(spec, "conv-wide")
    return {"D": Discriminator(spec, spec.logits(head), WIDE, Pixels(127.5, 255)), "G": Generator(spec, WIDE_N_Z)}


def check_size(spec: Spec, name: str) -> None:
    """UserError for sizes that three halvings do not take."""
    height, width, _ = spec.shape
    if height % 8 or width % 8 or min(height, width) < 16:
        raise UserError(f"--model {name} takes sizes that are multiples of 8, from 16 up; {spec.name} is "
                        f"{height}x{width}. Use --model mlp")


def pixels(spec: Spec) -> Pixels:
    """[-1, 1]; CIFAR-10's code divides by 128."""
    return Pixels(127.5, 128 if spec.name == "CIFAR10" else 127.5)


def widths(first: int) -> tuple[int, ...]:
    """Of conv-small's discriminator."""
    return (first, *[2 * first] * 4)
