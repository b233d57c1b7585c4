"""The conv-large network of Laine & Aila 2016 and Miyato et al. 2018 (SVHN, CIFAR-10; also called CNN-13), code: cnn.py
of takerum/vat_tf at c5125d2; as generator that of conv-small.

Pixels are in [-1, 1], the generator's range; the code has (x - 127.5) / 255, which the first batch norm undoes.
"""
from torch import Tensor, nn

from config import Spec
from ops import Dropout, Pixels, Verdict, normalised, verdict

from . import conv_small


class Discriminator(nn.Module):
    """3 convolutions of 128, max pool, dropout 0.5, 3 of 256, max pool, dropout 0.5, 3x3 to 512 without padding, 1x1 to
    256 and 128, global average pool (the features [B, 128]), dense logits. Batch norm and leaky ReLU 0.1 behind every
    convolution; with `top_norm` batch norm on the logits too. With `normalise` each image is given mean 0 and deviation
    1 first, over its places and colours."""

    pixels = Pixels(127.5, 127.5)

    def __init__(self, spec: Spec, logits: int, top_norm: bool, normalise: bool):
        super().__init__()
        self.classes, self.normalise = spec.classes, normalise
        self.body = nn.Sequential(
            *_conv(spec.shape[2], 128), *_conv(128, 128), *_conv(128, 128), nn.MaxPool2d(2), Dropout(0.5),
            *_conv(128, 256), *_conv(256, 256), *_conv(256, 256), nn.MaxPool2d(2), Dropout(0.5),
            *_conv(256, 512, padding=0), *_conv(512, 256, kernel=1, padding=0), *_conv(256, 128, kernel=1, padding=0))
        self.head = nn.Linear(128, logits)
        nn.init.kaiming_normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.top = _norm(nn.BatchNorm1d, logits) if top_norm else nn.Identity()

    def forward(self, x: Tensor) -> Verdict:
        features = self.body(normalised(x) if self.normalise else x).mean((2, 3))
        return verdict(self.top(self.head(features)), features, self.classes)


def _norm(kind: type[nn.Module], channels: int) -> nn.Module:
    return kind(channels, eps=1e-6, momentum=0.01)


def _conv(inputs: int, outputs: int, kernel: int = 3, padding: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return [layer, _norm(nn.BatchNorm2d, outputs), nn.LeakyReLU(0.1)]


def build(spec: Spec, head: str = "implicit", normalise: bool = False) -> dict[str, nn.Module]:
    """Nets for the sizes of conv-small; on SVHN the logits are normalised."""
    conv_small.check_size(spec, "conv-large")
    return {"D": Discriminator(spec, spec.logits(head), spec.name == "SVHN", normalise),
            "G": conv_small.Generator(spec)}
