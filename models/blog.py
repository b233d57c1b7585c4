"""The pair of the article "Semi-supervised Learning with GANs" (sthalles, 2017; SVHN), after its text and public ports.

Repaired: running averages of batch norm are kept and used in evaluation (there: batch statistics always), with momentum
0.01 as in TensorFlow; dropout is active in training, as the article says (its code never switched it on); the sixth
convolution is left out, whose output the code does not use. Transposed convolutions align pixels as PyTorch does.
"""
import torch
from torch import Tensor, nn

from config import Spec
from ops import Dropout, Pixels, SameConv2d, Verdict, at_least_float32, verdict

from . import conv_small

N_Z = 100


def _norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _glorot(net: nn.Module) -> None:
    """Uniform weights after Glorot and biases of 0, the defaults of TensorFlow's layers."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class Discriminator(nn.Module):
    """Dropout 0.2, three 3x3 convolutions of 64 with stride 2 (dropout 0.5 behind the first and third), two of 128, one
    of 128 without padding, global average pool (the features [B, 128]), dense logits; leaky ReLU 0.2. Batch norm behind
    the second to fifth: behind the last it would make the means equal that feature matching compares."""

    pixels = Pixels(127.5, 127.5)

    def __init__(self, spec: Spec, logits: int):
        super().__init__()
        self.classes = spec.classes
        # An image of 16 pixels has 2 x 2 maps left, too small for a convolution without padding.
        last = nn.Conv2d(128, 128, 3, padding=int(min(spec.shape[:2]) < 24))
        self.body = nn.Sequential(
            Dropout(0.2),
            SameConv2d(spec.shape[2], 64, 3, stride=2), nn.LeakyReLU(0.2), Dropout(0.5),
            *_conv(64, 64, stride=2), *_conv(64, 64, stride=2), Dropout(0.5),
            *_conv(64, 128), *_conv(128, 128), last, nn.LeakyReLU(0.2))
        self.head = nn.Linear(128, logits)
        _glorot(self)

    def forward(self, x: Tensor) -> Verdict:
        features = self.body(x).mean((2, 3))
        return verdict(self.head(features), features, self.classes)


def _conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [SameConv2d(inputs, outputs, 3, stride), _norm(outputs), nn.LeakyReLU(0.2)]


class Generator(nn.Module):
    """z ~ N(0, 1)^100 -> dense to 128 maps of an eighth of the size -> 5x5 deconvolutions to 64, 32 and the image,
    tanh; batch norm and leaky ReLU 0.2 before each."""

    def __init__(self, spec: Spec):
        super().__init__()
        height, width, channels = spec.shape
        self.start = (128, height // 8, width // 8)
        self.dense = nn.Linear(N_Z, 128 * (height // 8) * (width // 8))
        self.up = nn.Sequential(*[layer for a, b in ((128, 64), (64, 32), (32, channels)) for layer in (
            _norm(a), nn.LeakyReLU(0.2), nn.ConvTranspose2d(a, b, 5, stride=2, padding=2, output_padding=1))])
        _glorot(self)

    def prior(self, n: int, device: torch.device | str) -> Tensor:
        return torch.randn(n, N_Z, device=device)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(at_least_float32(self.up(self.dense(z).unflatten(1, self.start))))


def build(spec: Spec, head: str = "implicit") -> dict[str, nn.Module]:
    """Nets for the sizes of conv-small."""
    conv_small.check_size(spec, "blog")
    return {"D": Discriminator(spec, spec.logits(head)), "G": Generator(spec)}
