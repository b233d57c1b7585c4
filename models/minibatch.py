"""The mlp and conv-small pairs with minibatch discrimination in front of D's last layer: Salimans et al. 2016, section
3.2, code: train_{svhn,cifar}_minibatch_discrimination.py.

There o(x) depends on the other images of the batch, in the code also when images are classified. Here, in evaluation,
the others are a fixed set of training images that D keeps (`reference`, in every checkpoint), so that the verdict on an
image depends on nothing but the weights and the image.
"""
import torch
from torch import Tensor, nn

from config import Spec
from ops import GaussianNoise, MinibatchDiscrimination, Pixels, Verdict, verdict, weight_norm

from . import conv_small, mlp

REFERENCE = 100  # images with which others are compared in evaluation
KERNELS = 100
WIDTH = 96  # of the conv nets, for SVHN too


class Discriminator(nn.Module):
    """`body` gives the features f(x) [B, F] that feature matching would compare; `head` reads them beside o(x)."""

    def __init__(self, spec: Spec, pixels: Pixels, body: nn.Module, head: nn.Module, features: int, batch_size: int):
        super().__init__()
        height, width, channels = spec.shape
        self.classes, self.pixels, self.body, self.head = spec.classes, pixels, body, head
        self.minibatch = MinibatchDiscrimination(features, batch_size - 1, KERNELS)
        self.register_buffer("reference", torch.zeros(REFERENCE, channels, height, width))

    def forward(self, x: Tensor) -> Verdict:
        features = self.body(x)
        beside = features if self.training else self.body(self.reference)
        seen = torch.cat([features, self.minibatch(features, beside)], dim=1)
        return verdict(self.head(seen), features, self.classes)


def build_conv(spec: Spec, head: str = "implicit", batch_size: int = 100) -> dict[str, nn.Module]:
    """conv-small of width 96 with noise 0.2 on the images in place of the first dropout."""
    conv_small.check_size(spec, "conv-minibatch")
    logits, features = spec.logits(head), 2 * WIDTH
    pixels = conv_small.pixels(spec)
    plain = conv_small.Discriminator(spec, logits, conv_small.widths(WIDTH), pixels)
    body = nn.Sequential(GaussianNoise(0.2), *plain.body[1:], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    last = weight_norm(nn.Linear(features + KERNELS, logits), std=0.05, train_scale=True, init_std=0.1)
    return {"D": Discriminator(spec, pixels, body, last, features, batch_size), "G": conv_small.Generator(spec)}


def build_mlp(spec: Spec, head: str = "implicit", batch_size: int = 100) -> dict[str, nn.Module]:
    """mlp; the noise in front of its last layer is on o(x) too. Ours: the code has conv nets only."""
    logits = spec.logits(head)
    plain = mlp.Discriminator(spec, logits)
    layers = [layer for noise, dense in zip(plain.noise, plain.hidden, strict=False)
              for layer in (noise, dense, nn.ReLU())]
    features = plain.hidden[-1].out_features
    last = weight_norm(nn.Linear(features + KERNELS, logits), std=0.1, train_scale=True, eps=0.0)
    return {"D": Discriminator(spec, plain.pixels, nn.Sequential(nn.Flatten(), *layers),
                               nn.Sequential(plain.noise[-1], last), features, batch_size),
            "G": mlp.Generator(spec)}
