"""Layers and helpers that the networks share: what a discriminator says, weight norm with its data-dependent
initialisation, noise, blocks of the convolutional nets, and Adam as the reference code has it.

Shapes: B images, K classes, F features, C channels, H x W pixels.
"""
import contextlib
import inspect
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.optim.adam import adam


class Verdict(NamedTuple):
    """What a discriminator says of a batch. p(y | x, real) = softmax(classes), p(real | x) = sigmoid(real)."""

    classes: Tensor  # [B, K] logits of the real classes
    real: Tensor  # [B] logit of "this is real"
    features: Tensor  # [B, F] what feature matching compares


def at_least_float32(x: Tensor) -> Tensor:
    """`x`, or in float32 if products were rounded to bfloat16."""
    return x.float() if x.dtype == torch.bfloat16 else x


def verdict(logits: Tensor, features: Tensor, classes: int) -> Verdict:
    """Read K logits (implicit head: the fake logit is 0) or K+1 logits (explicit head: the last one is the fake
    logit) as a Verdict, in float32 whatever the network computed in. With K = 0 one logit says "real".

    real = logsumexp(classes) - fake, because softmax over K+1 gives p(real) = sigmoid of that difference
    (Salimans et al. 2016, section 5)."""
    logits, features = at_least_float32(logits), at_least_float32(features)
    if classes == 0:
        return Verdict(logits[:, :0], logits[:, 0], features)
    real = torch.logsumexp(logits[:, :classes], dim=1)
    if logits.shape[1] > classes:
        real = real - logits[:, classes]
    return Verdict(logits[:, :classes], real, features)


class Pixels(NamedTuple):
    """The range in which a pair of networks sees images: (byte - offset) / divisor."""

    offset: float
    divisor: float

    def from_bytes(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float32 of the same shape."""
        return (images.float() - self.offset) / self.divisor

    def to_bytes(self, images: Tensor) -> Tensor:
        """The inverse, rounded and clipped to 0..255: uint8."""
        return (images.float() * self.divisor + self.offset).round().clamp(0, 255).to(torch.uint8)


def normalised(x: Tensor) -> Tensor:
    """Each image of [B, C, H, W] with mean 0 and deviation 1 over its places and colours; one of a single grey is 0."""
    return functional.layer_norm(x, x.shape[1:], eps=1e-12)


def _quantiles(count: int) -> Tensor:
    """The centres of `count` equally probable slices of N(0, 1), scaled to deviation 1: float32 [count]."""
    z = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    return (z / z.square().mean().sqrt()).float()


QUANTILES = {torch.float32: _quantiles(1 << 16).numpy(),
             torch.bfloat16: _quantiles(1 << 16).bfloat16().view(torch.int16).numpy()}  # numpy has no bfloat16


def normal_like(x: Tensor) -> Tensor:
    """N(0, 1) of the shape and type of `x`, drawn from torch's generator of that device.

    On a CPU torch's own normal numbers take longer than the activations that they are added to. There, 16 random bits
    choose one of the 65,536 quantiles, a third of the time (figure/result/LOG.md); |z| reaches 4.3."""
    table = QUANTILES.get(x.dtype)
    if table is None or not _by_bits(x):
        return torch.randn_like(x)
    return torch.from_numpy(table.take(_bits(x.numel()))).view(x.dtype).view(x.shape)


def _by_bits(x: Tensor) -> bool:
    """Whether random numbers for `x` are best made of 16 random bits each."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _bits(count: int) -> np.ndarray:
    """Random numbers from torch's generator: uint16 [count]."""
    return torch.empty(count // 4 + 1, dtype=torch.int64).random_(-1 << 63, None).numpy().view(np.uint16)[:count]


class GaussianNoise(nn.Module):
    """x + N(0, sigma^2) in training, x in evaluation."""

    def __init__(self, sigma: float):
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, normal_like(x), alpha=self.sigma) if self.training else x


class Dropout(nn.Module):
    """In training each element is 0 with probability p, otherwise divided by 1 - p; x in evaluation. On a CPU torch
    draws the elements one by one, a tenth of the time of a convolutional net's step; 16 random bits each decide it
    there, and p is rounded to 1/65536."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p or not _by_bits(x):
            return functional.dropout(x, self.p, self.training)
        kept = torch.from_numpy(_bits(x.numel()) >= round(self.p * 65536)).to(x.dtype).div_(1 - self.p)
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            return x * kept.view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)  # laid out as x is
        return x * kept.view(x.shape)


class WeightNorm(nn.Module):
    """w = scale * v / sqrt(eps + |v|^2), one norm per output unit (Salimans & Kingma 2016, eq. 2; eps as in the
    reference code of Salimans et al. 2016). Its scale is frozen after the data-dependent initialisation unless
    `train_scale`: the library's weight_norm trains every scale, which is another model."""

    def __init__(self, v: Tensor, output_dim: int, train_scale: bool, eps: float):
        super().__init__()
        shape = [1] * v.dim()
        shape[output_dim] = v.shape[output_dim]
        self.inputs = [d for d in range(v.dim()) if d != output_dim]
        self.eps = eps
        if train_scale:
            self.scale = nn.Parameter(v.detach().new_ones(shape))
        else:
            self.register_buffer("scale", v.detach().new_ones(shape))

    def forward(self, v: Tensor) -> Tensor:
        compiled = v.is_cuda and torch.compiler.is_compiling()  # which makes better kernels of the formula
        if self.inputs[0] == 1 and not self.eps and not compiled:
            return torch._weight_norm(v, self.scale, 0)  # the same in one kernel, behind the library's weight_norm
        return v * (self.scale / (v.square().sum(self.inputs, keepdim=True) + self.eps).sqrt())


def weight_norm(layer: nn.Module, std: float, train_scale: bool = False, init_std: float | None = 1.0,
                eps: float = 1e-6) -> nn.Module:
    """Weight-normalise a Linear, Conv2d or ConvTranspose2d whose weights start as N(0, std^2) and biases as 0.
    `init_std` is the deviation that `data_init` gives its outputs (None: left alone)."""
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    output_dim = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    layer.init_std = init_std
    return parametrize.register_parametrization(layer, "weight", WeightNorm(layer.weight, output_dim, train_scale, eps))


@torch.no_grad()
def data_init(net: nn.Module, x: Tensor) -> None:
    """Data-dependent initialisation (Salimans & Kingma 2016, section 3): one training-mode pass of `x` in which
    each weight-normalised layer is given the scale and bias that make its outputs mean 0 and deviation `init_std`
    per unit; the standardised output feeds the next layer. A layer that has an `initialise` is given its inputs in its
    turn, and a net that has a `reference` keeps the first images of `x` in it. A net without weight-normalised layers
    is not touched."""

    def standardise(layer, _, a):
        dims = [d for d in range(a.dim()) if d != 1]
        shape = [1, -1] + [1] * (a.dim() - 2)
        mean = a.mean(dims)
        s = layer.init_std / (a - mean.view(shape)).square().mean(dims).sqrt()
        norm = layer.parametrizations.weight[0]
        norm.scale.mul_(s.view(norm.scale.shape))
        layer.bias.copy_(-mean * s)
        return (a - mean.view(shape)) * s.view(shape)

    def fit(layer, inputs):
        layer.initialise(inputs[0])

    layers = [m for m in net.modules() if getattr(m, "init_std", None) is not None]
    if not layers:
        return
    hooks = [layer.register_forward_hook(standardise) for layer in layers]
    hooks += [m.register_forward_pre_hook(fit) for m in net.modules() if hasattr(m, "initialise")]
    was_training = net.training
    net.train()(x)
    net.train(was_training)
    for hook in hooks:
        hook.remove()
    if hasattr(net, "reference"):
        net.reference.copy_(x[:len(net.reference)])


class ShiftBatchNorm(nn.Module):
    """Batch norm of Salimans et al. 2016: shift without gain, eps 1e-6 inside the root, batch statistics always,
    also when sampling. The preceding layer has no bias. Input [B, C] or [B, C, H, W]."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        # Without a gain to multiply by, CUDA's kernel gives the bias no gradient.
        self.register_buffer("gain", torch.ones(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, None, None, self.gain, self.bias, training=True, eps=1e-6)


@contextlib.contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """Inside, batch norms of `net` use batch statistics without moving their running averages: generated images
    must not enter the averages with which real ones are later classified."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextlib.contextmanager
def noise_repeated(net: nn.Module) -> Iterator[None]:
    """Inside, each dropout and each noise of `net` draws in its first call and repeats that draw in later ones, which
    must have inputs of the same shape: what two calls say then differs by their inputs alone."""

    def repeated(layer: nn.Module):
        draw, drawn = layer.forward, []

        def forward(x: Tensor) -> Tensor:
            factor = not isinstance(layer, GaussianNoise)
            if not drawn:
                drawn.append(draw(torch.ones_like(x) if factor else torch.zeros_like(x)))
            return x * drawn[0].to(x.dtype) if factor else x + drawn[0].to(x.dtype)

        return forward

    layers = [m for m in net.modules() if isinstance(m, Dropout | nn.Dropout2d | GaussianNoise)]
    for layer in layers:
        layer.forward = repeated(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own again


def warped(images: Tensor, share: float) -> Tensor:
    """Each of the images [B, C, H, W] under an affine map of its own: the identity, to each of whose six numbers
    U(-share, share) is added, in coordinates from -1 to 1. So it is moved by up to that share of half its side, and
    turned, scaled and sheared as much. Bilinear; what comes in from outside is the pixel at the edge."""
    maps = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
    maps = maps + torch.empty_like(maps).uniform_(-share, share)
    with torch.autocast(images.device.type, enabled=False):  # places in bfloat16 are a fraction of a pixel off
        grid = functional.affine_grid(maps.to(images.dtype), list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of [B, C, H, W] to that height and width, corners not aligned: a matrix product along each side.
    The library's interpolate, of which this is the same, adds its gradient on CUDA in no fixed order, so that a run
    could not be repeated, and takes up to four times as long on a CPU."""
    with torch.autocast(x.device.type, enabled=False):
        maps = at_least_float32(x.permute(0, 2, 3, 1))
        down, along = (functional.interpolate(torch.eye(old, device=x.device, dtype=maps.dtype)[None], new,
                                              mode="linear")[0].T for old, new in zip(x.shape[2:], size, strict=True))
        maps = (down @ (along @ maps).flatten(2)).unflatten(2, (-1, x.shape[1]))
    return maps.permute(0, 3, 1, 2).to(x.dtype)


def sample(G: nn.Module, z: Tensor) -> Tensor:
    """G(z) for a player that does not train G: no gradient, and G's running averages stay."""
    with torch.no_grad(), statistics_kept(G):
        return G(z)


def verdict_on_fake(D: nn.Module, fake: Tensor) -> Verdict:
    """The verdict on generated images, which stay out of D's running averages."""
    with statistics_kept(D):
        return D(fake)


def verdicts(D: nn.Module, real: list[Tensor], fake: Tensor) -> list[Verdict]:
    """Verdicts on several batches of real images and one of generated ones, last. One call where D has no batch
    statistics; otherwise real and generated images are normalised apart, and only the real ones enter D's averages.
    A net with a `reference` compares the images of one batch, so there every batch is a call of its own."""
    if hasattr(D, "reference"):
        with parametrize.cached():  # the weight norm is computed once
            return [D(x) for x in (*real, fake)]
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in D.modules()):
        apart, together = [verdict_on_fake(D, fake)], real
    else:
        apart, together = [], [*real, fake]
    parts = zip(*(field.split([len(x) for x in together]) for field in D(torch.cat(together))), strict=True)
    return [Verdict(*part) for part in parts] + apart


def features(D: nn.Module, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """D's features of generated images, with their gradient, and of real ones, without: [B, F] each. The weight norm
    is computed once for both calls, and D's running averages stay."""
    with statistics_kept(D), parametrize.cached():
        with torch.no_grad():
            target = D(real).features
        return D(fake).features, target


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """(before, after) of TensorFlow's SAME padding along one axis: the odd pixel goes behind."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """Conv2d with TensorFlow's SAME padding, which is asymmetric for stride 2 on even sizes."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        (top, bottom), (left, right) = (same_padding(size, kernel, stride) for size in x.shape[-2:])
        if (top, left) != (bottom, right):
            x = functional.pad(x, (0, right - left, 0, bottom - top))
        # What both sides have is left to the convolution: of small maps a copy takes as long as that.
        return functional.conv2d(x, self.weight, self.bias, self.stride, (top, left))


class Adam(torch.optim.Adam):
    """Adam whose eps stands inside the root, step = lr * m / sqrt(v + eps) with m, v bias-corrected, as in the
    code of Salimans et al. 2016 (eps 1e-8 inside is 1e-4 outside for small gradients).

    Adding eps * (1 - beta2) / beta2 to the second moment before each update of the library's Adam is exactly that:
    the accumulated eps is then bias-corrected to eps. So the library's fused kernel serves."""

    # What the library's are wrapped in imports torch._dynamo, which takes as long as importing torch.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)

    def __init__(self, params, lr: float, betas: tuple[float, float], eps: float = 1e-8):
        super().__init__(params, lr=lr, betas=betas, eps=0.0, fused=True)
        self.lift = eps * (1 - betas[1]) / betas[1]
        for p in self.param_groups[0]["params"]:
            self.state[p] = {"step": torch.zeros((), dtype=torch.float32, device=p.device),
                             "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        self.compiled = None

    def compile(self) -> None:
        """Let the compiler make the update, which on a GPU takes a fraction of the fused kernel's time: that gives each
        65,536 weights to one multiprocessor, and leaves the others idle."""
        self.compiled = torch.compile(self._move, dynamic=False)

    def _move(self, lift: float | Tensor, lists: list[list[Tensor]], lr: float | Tensor, **how) -> None:
        moved, gradients, means, squares, counts = lists
        beta1, beta2 = self.param_groups[0]["betas"]
        torch._foreach_add_(squares, lift)
        adam(moved, gradients, means, squares, [], counts, amsgrad=False, beta1=beta1, beta2=beta2, lr=lr,
             weight_decay=0.0, eps=0.0, maximize=False, **how)

    @torch.no_grad()
    def step(self, closure=None):
        # The library's own step spends more time on finding out that it is fused than the fused kernel takes. Both skip
        # the update where found_inf, a number on the device, is 1.
        group = self.param_groups[0]
        moved = [p for p in group["params"] if p.grad is not None]
        lists = [moved, [p.grad for p in moved],
                 *([self.state[p][name] for p in moved] for name in ("exp_avg", "exp_avg_sq", "step"))]
        skipped = getattr(self, "found_inf", None)
        if self.compiled and skipped is None:
            self.compiled(self.lift, lists, group["lr"], foreach=True, capturable=group["capturable"])
        else:
            lift = self.lift if skipped is None else self.lift * (1 - skipped)
            self._move(lift, lists, group["lr"], fused=True, capturable=group["capturable"], found_inf=skipped)
