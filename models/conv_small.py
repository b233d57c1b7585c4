"""The conv-small pair of Salimans et al. 2016 (SVHN, CIFAR-10), code: train_{svhn,cifar}_feature_matching.py."""
import torch
from torch import Tensor, nn
from torch.nn import functional

from config import Spec, UserError
from ops import Dropout, Pixels, ShiftBatchNorm, Verdict, at_least_float32, verdict, weight_norm

N_Z = 100


class Discriminator(nn.Module):
    """Dropout 0.2, 3 convolutions of `width`, dropout 0.5, 3 of 2 * width, dropout 0.5, 3 more without padding,
    global average pool (the features [B, 2 * width]), dense logits. Weights N(0, 0.05^2), leaky ReLU 0.2; only the
    last layer's scale is trained."""

    def __init__(self, spec: Spec, logits: int, width: int, pixels: Pixels):
        super().__init__()
        self.classes, self.pixels = spec.classes, pixels
        wide = 2 * width
        self.body = nn.Sequential(
            Dropout(0.2),
            *_conv(spec.shape[2], width), *_conv(width, width), *_conv(width, width, stride=2),
            Dropout(0.5),
            *_conv(width, wide), *_conv(wide, wide), *_conv(wide, wide, stride=2),
            Dropout(0.5),
            *_conv(wide, wide, padding=0), *_conv(wide, wide, kernel=1, padding=0),
            *_conv(wide, wide, kernel=1, padding=0))
        self.head = weight_norm(nn.Linear(wide, logits), std=0.05, train_scale=True, init_std=0.1)

    def forward(self, x: Tensor) -> Verdict:
        features = self.body(x).mean((2, 3))
        return verdict(self.head(features), features, self.classes)


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> list[nn.Module]:
    return [weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding), std=0.05), nn.LeakyReLU(0.2)]


class Generator(nn.Module):
    """z ~ U[0, 1)^100 -> dense to 512 maps of an eighth of the size, normalised per unit before the reshape ->
    5x5 deconvolutions to 256, 128 and the image, tanh. Weights N(0, 0.05^2); shift-only batch norm."""

    def __init__(self, spec: Spec):
        super().__init__()
        height, width, channels = spec.shape
        self.start = (512, height // 8, width // 8)
        units = 512 * (height // 8) * (width // 8)
        self.dense, self.norm = nn.Linear(N_Z, units, bias=False), ShiftBatchNorm(units)
        self.up = nn.Sequential(_deconv(512, 256, bias=False), ShiftBatchNorm(256), nn.ReLU(),
                                _deconv(256, 128, bias=False), ShiftBatchNorm(128), nn.ReLU())
        for layer in (self.dense, self.up[0], self.up[3]):
            nn.init.normal_(layer.weight, std=0.05)
        self.out = weight_norm(_deconv(128, channels), std=0.05, train_scale=True, init_std=0.1)

    def prior(self, n: int, device: torch.device | str) -> Tensor:
        return torch.rand(n, N_Z, device=device)

    def forward(self, z: Tensor) -> Tensor:
        maps = functional.relu(self.norm(self.dense(z))).unflatten(1, self.start)
        return torch.tanh(at_least_float32(self.out(self.up(maps))))


def _deconv(inputs: int, outputs: int, bias: bool = True) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1, bias=bias)


def check(spec: Spec, model: str) -> None:
    """UserError where the images do not fit a model with this generator."""
    height, width, _ = spec.shape
    if height % 8 or width % 8 or min(height, width) < 16:
        raise UserError(f"--model {model} takes sizes that are multiples of 8, from 16 up; {spec.name} is "
                        f"{height}x{width}. Use --model mlp")


def build(spec: Spec, head: str = "implicit") -> dict[str, nn.Module]:
    """Conv nets for sizes that are multiples of 8, at least 16. SVHN: width 64, pixels (x - 127.5) / 127.5;
    else width 96; CIFAR-10's code divides by 128."""
    check(spec, "conv-small")
    pixels = Pixels(127.5, 128 if spec.name == "CIFAR10" else 127.5)
    logits = spec.classes + (head == "explicit")
    return {"D": Discriminator(spec, logits, 64 if spec.name == "SVHN" else 96, pixels), "G": Generator(spec)}
