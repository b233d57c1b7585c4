"""The mlp and conv-small pairs with minibatch discrimination in front of D's last layer: Salimans et al. 2016, section
3.2, code: train_{svhn,cifar}_minibatch_discrimination.py.

There o(x) depends on the other images of the batch, in the code also when images are classified. Here, in evaluation,
the others are a fixed set of training images that D keeps (`reference`, in every checkpoint), so that the verdict on an
image depends on nothing but the weights and the image.
"""
import functools
import math

import torch
from torch import Tensor, nn

from config import Spec
from ops import GaussianNoise, Pixels, Verdict, at_least_float32, verdict, weight_norm

from . import conv_small, mlp

REFERENCE = 100  # images with which others are compared in evaluation
KERNELS = 100
WIDTH = 96  # of the conv nets, for SVHN too


class MinibatchDiscrimination(nn.Module):
    """Features of an image among other images (Salimans et al. 2016, section 3.2): [B, F] -> [B, kernels], with

        M_i = T f(x_i),  c_b(x_i, x_j) = exp(-|M_ib - M_jb|_1),  o(x_i)_b = sum_j c_b(x_i, x_j) + bias_b

    T [F, kernels, dims] starts as N(0, 0.05^2), each of its columns normalised and times exp(log_scale), which is
    trained; the bias starts at -1 (the code's nn.py). The sum is over the images j beside i, in training the rest of
    its batch. It is written `others` times a mean, so that it has the same size over a set of any length."""

    def __init__(self, inputs: int, others: int, kernels: int = 100, dims: int = 5):
        super().__init__()
        self.others = others
        self.theta = nn.Parameter(0.05 * torch.randn(inputs, kernels, dims))
        self.log_scale = nn.Parameter(torch.zeros(kernels, dims))
        self.bias = nn.Parameter(torch.full((kernels,), -1.0))

    def _kernels(self, f: Tensor) -> Tensor:
        """M of the features [B, F]: [kernels, B, dims]."""
        scaled = self.theta * (self.log_scale.exp() / self.theta.square().sum(0).sqrt())
        with torch.autocast(f.device.type, enabled=False):  # differences of numbers that lie close together
            return torch.einsum("nf,fkd->knd", at_least_float32(f), scaled)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        """o of the images with features `x` among those with features `beside`: themselves, if it is `x`."""
        if beside is x:
            return self.others / (len(x) - 1) * _ClosenessToOthers.apply(self._kernels(x)).T + self.bias
        distances = _distances(self._kernels(x), self._kernels(beside))
        return self.others / len(beside) * torch.exp(-distances).sum(2).T + self.bias

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Scale each kernel so that the nearest other image is 2 away on average, and make the means of o 0."""
        m = self._kernels(x)
        distances = _distances(m, m)
        distances.diagonal(dim1=1, dim2=2).fill_(math.inf)
        self.log_scale.sub_((0.5 * distances.amin(2).mean(1)).log()[:, None])
        self.bias.sub_(self.forward(x, x).mean(0))  # not self(...), before which `data_init` has this called


class _ClosenessToOthers(torch.autograd.Function):
    """sum over j != i of exp(-|M_i - M_j|_1) [kernels, B] of M [kernels, B, dims]. The pairs are symmetric, so that one
    pass over them gives the gradient, where autograd makes one for i and one for j: less than half the time."""

    @staticmethod
    def forward(ctx, m):
        closeness = _distances(m, m).neg_().exp_()
        ctx.save_for_backward(m, closeness)
        return closeness.sum(2) - 1  # the image itself

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        m, closeness = ctx.saved_tensors
        gradient = -gradient.contiguous()  # it comes transposed, and products of unlike layouts are slow
        return _through_distances(m, (gradient[:, :, None] + gradient[:, None, :]).mul_(closeness))


def _distances(m: Tensor, beside: Tensor) -> Tensor:
    """|M_i - M_j|_1 [kernels, B, C] of M_i in [kernels, B, dims] and M_j in [kernels, C, dims]."""
    # CUDA's cdist gives each pair a block of 256 threads, for a sum of 5 numbers.
    return distances_by_dimension(m, beside) if m.is_cuda else torch.cdist(m, beside, p=1)


def _through_distances(m: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of M [kernels, B, dims] where that of its distances, with both sides of a pair in it, is `gradient`
    [kernels, B, B]."""
    if m.is_cuda:
        return through_distances_by_dimension(m, gradient)
    return torch.ops.aten._cdist_backward(gradient, m, m, 1.0, gradient)  # p = 1 asks for signs, not for distances


def distances_by_dimension(m: Tensor, beside: Tensor) -> Tensor:
    """`_distances`, a dimension at a time."""
    pairs = zip(m.unbind(2), beside.unbind(2), strict=True)
    return functools.reduce(torch.Tensor.add_, ((a[:, :, None] - b[:, None, :]).abs_() for a, b in pairs))


def through_distances_by_dimension(m: Tensor, gradient: Tensor) -> Tensor:
    """`_through_distances`, a dimension at a time."""
    return torch.stack([(a[:, :, None] - a[:, None, :]).sign_().mul_(gradient).sum(2) for a in m.unbind(2)], 2)


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
