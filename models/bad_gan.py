"""The convolutional nets of Dai et al. 2017 (SVHN, CIFAR-10), code: model.py of kimiyoung/ssl_bad_gan at 2863f0a.

Weight-normalised layers start as N(0, 0.05^2); the last ones of D, G and the encoder have a trained scale and initial
outputs of deviation 0.1. The others start as they did in the code's torch 0.1.12.
"""
import math

from torch import Tensor, nn

from config import Spec
from ops import Dropout, GaussianNoise, Pixels, at_least_float32, weight_norm

from . import conv_small
from .conv_small import N_Z


def discriminator(spec: Spec, logits: int) -> nn.Module:
    """conv-small, but noise of 0.05 and a dropout of whole colour planes (0.15 on SVHN, else 0.2) are on the image; on
    SVHN the dropouts inside take whole maps too."""
    planes = spec.name == "SVHN"
    D = conv_small.Discriminator(spec, logits, conv_small.widths(64 if planes else 96), Pixels(127.5, 127.5))
    inside = [nn.Dropout2d(layer.p) if planes and isinstance(layer, Dropout) else layer for layer in D.body[1:]]
    D.body = nn.Sequential(GaussianNoise(0.05), nn.Dropout2d(0.15 if planes else 0.2), *inside)
    return D


def generator(spec: Spec) -> nn.Module:
    """conv-small's, but the batch norms scale too and keep running averages, with which samples are drawn."""
    return _start(conv_small.Generator(spec, norms=(nn.BatchNorm1d, nn.BatchNorm2d)))


def _start(net: nn.Module) -> nn.Module:
    """Let what has no weight norm start as in torch 0.1.12: weights U(-1, 1) / sqrt(inputs), where today's torch counts
    a transposed convolution's outputs, and gains of batch norms U(0, 1)."""
    for layer in net.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(layer.weight)
        elif isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and not hasattr(layer, "parametrizations"):
            inputs = layer.in_channels * layer.weight[0, 0].numel() if layer.weight.dim() == 4 else layer.in_features
            nn.init.uniform_(layer.weight, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
    return net


class Encoder(nn.Module):
    """Mean and log deviation of z given an image, [B, 100] each: 5x5 convolutions of stride 2 to 128, 256 and 512 maps,
    each with batch norm and ReLU, then one dense layer."""

    def __init__(self, spec: Spec):
        super().__init__()
        height, width, channels = spec.shape
        self.body = nn.Sequential(*_down(channels, 128), *_down(128, 256), *_down(256, 512), nn.Flatten())
        self.out = weight_norm(nn.Linear(512 * (height // 8) * (width // 8), 2 * N_Z), std=0.05, train_scale=True,
                               init_std=0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_deviation = at_least_float32(self.out(self.body(x))).chunk(2, dim=1)
        return mean, log_deviation


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def build(spec: Spec, head: str = "implicit") -> dict[str, nn.Module]:
    """D, G and the encoder E for sizes that are multiples of 8, at least 16."""
    conv_small.check_size(spec, "conv-badgan")
    return {"D": discriminator(spec, spec.logits(head)), "G": generator(spec), "E": _start(Encoder(spec))}
