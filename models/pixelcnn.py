"""PixelCNN++ (Salimans, Karpathy, Chen, Kingma 2017, arXiv:1701.05517, section 2; code: openai/pixel-cnn at 0ff8ab5): a
density model p(x) = product over the pixels i of p(x_i | all rows above, and what is left of it), each a mixture of
logistics.

Two streams of maps run side by side: one sees the rows above a pixel, the other also the pixels left of it. Both pass
residual blocks whose second half gates the first, are halved in size between the levels, and come back up with
short-cuts from the way down the levels. Weight norm with a trained scale and data-dependent initialisation.
"""
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from config import Spec, UserError
from ops import Dropout, Pixels, at_least_float32, weight_norm

ABOVE, LEFT = (2, 3), (2, 2)  # kernels of the two streams, height and width
PIXELS = Pixels(127.5, 127.5)
LEAST_LOG_SCALE = -7.0  # an eighth of a grey level


class LogisticMixture(NamedTuple):
    """What the net says of each pixel of a batch: M logistics for each colour, of values from -1 to 1."""

    logits: Tensor  # [B, M, H, W] of the mixture's weights
    means: Tensor  # [B, C, M, H, W]
    log_scales: Tensor  # [B, C, M, H, W], at least LEAST_LOG_SCALE
    coefficients: Tensor  # [B, C (C - 1) / 2, M, H, W], -1 to 1: green's mean on red, blue's on red and on green


def _normed(layer: nn.Module, init_std: float = 1.0) -> nn.Module:
    return weight_norm(layer, std=0.05, train_scale=True, init_std=init_std)


def concat_elu(x: Tensor) -> Tensor:
    """ELU of x and of -x, twice as many maps (the nonlinearity of the paper's code)."""
    return functional.elu(torch.cat([x, -x], dim=1))


class Shifted(nn.Module):
    """A convolution that sees no row below a pixel and, of an even width, no column to its right."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1, init_std: float = 1.0):
        super().__init__()
        height, width = kernel
        self.padding = (width // 2, width - 1 - width // 2, height - 1, 0)
        self.conv = _normed(nn.Conv2d(inputs, outputs, kernel, stride), init_std)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, self.padding))


class Gated(nn.Module):
    """x + a * sigmoid(b), where a and b are two convolutions after x. `aside` maps of a short-cut are added between."""

    def __init__(self, filters: int, kernel: tuple[int, int], aside: int, dropout: float):
        super().__init__()
        self.first = Shifted(2 * filters, filters, kernel)
        self.aside = _normed(nn.Conv2d(2 * aside, filters, 1)) if aside else None
        self.dropout = Dropout(dropout)
        self.second = Shifted(2 * filters, 2 * filters, kernel, init_std=0.1)

    def forward(self, x: Tensor, aside: Tensor | None = None) -> Tensor:
        maps = self.first(concat_elu(x))
        if aside is not None:
            maps = maps + self.aside(concat_elu(aside))
        value, gate = self.second(self.dropout(concat_elu(maps))).chunk(2, dim=1)
        return x + value * torch.sigmoid(gate)


class Block(nn.Module):
    """A gated block in each stream; the second one sees the first."""

    def __init__(self, filters: int, dropout: float):
        super().__init__()
        self.above, self.left = Gated(filters, ABOVE, 0, dropout), Gated(filters, LEFT, filters, dropout)

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        above = self.above(above)
        return above, self.left(left, above)


class BlockBack(nn.Module):
    """The same with short-cuts from the streams of the way there."""

    def __init__(self, filters: int, dropout: float):
        super().__init__()
        self.above, self.left = Gated(filters, ABOVE, filters, dropout), Gated(filters, LEFT, 2 * filters, dropout)

    def forward(self, above: Tensor, left: Tensor, seen_above: Tensor, seen_left: Tensor) -> tuple[Tensor, Tensor]:
        above = self.above(above, seen_above)
        return above, self.left(left, torch.cat([above, seen_left], dim=1))


class Halve(nn.Module):
    """Both streams at half the size, rounded up."""

    def __init__(self, filters: int):
        super().__init__()
        self.above, self.left = (Shifted(filters, filters, kernel, stride=2) for kernel in (ABOVE, LEFT))

    def forward(self, above: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        return self.above(above), self.left(left)


class Double(nn.Module):
    """Both streams at the size that they had before they were halved, which `like` has."""

    def __init__(self, filters: int):
        super().__init__()
        self.above, self.left = (_normed(nn.ConvTranspose2d(filters, filters, kernel, 2)) for kernel in (ABOVE, LEFT))

    def forward(self, above: Tensor, left: Tensor, like: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        height, width = like.shape[2:]
        # What lies beyond would come from below or, of the even width, from the right.
        return self.above(above)[:, :, :height, 1:width + 1], self.left(left)[:, :, :height, :width]


class PixelCNN(nn.Module):
    """Images [B, C, H, W], C of 1 or 3, -> the mixture for each pixel, given those before it. H and W need not be even:
    they are halved upwards."""

    pixels = PIXELS

    def __init__(self, spec: Spec, filters: int, blocks: int, levels: int, mixtures: int, dropout: float):
        super().__init__()
        self.shape, colours = spec.shape, spec.shape[2]
        self.parts = (1, colours, colours, colours * (colours - 1) // 2)  # of LogisticMixture, in mixtures
        self.start_above = Shifted(colours + 1, filters, ABOVE)
        self.start_row, self.start_column = (Shifted(colours + 1, filters, kernel) for kernel in ((1, 3), (2, 1)))

        def several(block: type[nn.Module], count: int) -> list[nn.Module]:
            return [block(filters, dropout) for _ in range(count)]

        there, back = several(Block, blocks), several(BlockBack, blocks)
        for _ in range(levels - 1):
            there += [Halve(filters), *several(Block, blocks)]
            back += [Double(filters), *several(BlockBack, blocks + 1)]
        self.there, self.back = nn.ModuleList(there), nn.ModuleList(back)
        self.head = _normed(nn.Conv2d(filters, sum(self.parts) * mixtures, 1))

    def forward(self, x: Tensor) -> LogisticMixture:
        known = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)  # tells the image from the padding
        above = _down(self.start_above(known))
        left = _down(self.start_row(known)) + _right(self.start_column(known))
        seen = [(above, left)]
        for layer in self.there:
            seen.append(layer(*seen[-1]))
        above, left = seen.pop()
        for layer in self.back:
            above, left = layer(above, left, *seen[-1])
            if not isinstance(layer, Double):
                seen.pop()
        with torch.autocast(x.device.type, enabled=False):  # a mean rounded to bfloat16 can be half a grey level off
            numbers = self.head(at_least_float32(functional.elu(left)))
        numbers = numbers.unflatten(1, (sum(self.parts), -1))
        logits, means, log_scales, coefficients = numbers.split(self.parts, dim=1)
        return LogisticMixture(logits[:, 0], means, log_scales.clamp(min=LEAST_LOG_SCALE), coefficients.tanh())

    @torch.no_grad()
    def sample(self, count: int, device: torch.device) -> Iterator[Tensor]:
        """Images drawn pixel by pixel, each by a pass of the net over the rows so far: `count` of them as bytes, uint8
        [count, C, H, W], after each row, the rows below it 127."""
        height, width, colours = self.shape
        x = torch.zeros(count, colours, height, width, device=device)
        for row in range(height):
            for column in range(width):
                mixture = self(x[:, :, :row + 1])
                x[:, :, row, column] = draw(*(numbers[..., row, column] for numbers in mixture))
            yield self.pixels.to_bytes(x)


def draw(logits: Tensor, means: Tensor, log_scales: Tensor, coefficients: Tensor) -> Tensor:
    """One pixel [B, C] of each mixture, the fields of LogisticMixture without H and W; its values are those of
    bytes, because the nearest one of a logistic's values has the discretised logistic's probabilities."""
    chosen = torch.distributions.Categorical(logits=logits).sample()[:, None, None]
    means, log_scales, on = (numbers.take_along_dim(chosen, 2)[..., 0]
                             for numbers in (means, log_scales, coefficients))
    noise = log_scales.exp() * torch.logit(torch.rand_like(means).clamp(1e-5, 1 - 1e-5))
    colours = []
    for colour in range(means.shape[1]):
        first = colour * (colour - 1) // 2  # of the coefficients of this colour, one for each before it
        value = means[:, colour] + noise[:, colour] + sum(on[:, first + i] * c for i, c in enumerate(colours))
        colours.append(PIXELS.from_bytes(PIXELS.to_bytes(value)))
    return torch.stack(colours, dim=1)


def _down(x: Tensor) -> Tensor:
    """Every row one lower, so that a pixel is told of the row above."""
    return functional.pad(x[:, :, :-1], (0, 0, 1, 0))


def _right(x: Tensor) -> Tensor:
    return functional.pad(x[:, :, :, :-1], (1, 0))


def build(spec: Spec, filters: int = 16, blocks: int = 1, levels: int = 2, mixtures: int = 5,
          dropout: float = 0.0) -> dict[str, nn.Module]:
    """{"P": a small PixelCNN++}. The paper's for CIFAR-10: 160 filters, 5 blocks, 3 levels, 10 mixtures, dropout 0.5;
    that of ssl_bad_gan for MNIST: 160, 3, 2, 10 and no dropout."""
    if spec.shape[2] not in (1, 3):
        raise UserError(f"--model pixelcnn takes images of 1 or 3 channels; {spec.name} has {spec.shape[2]}")
    if min(spec.shape[:2]) < 2**levels:  # of the one row of a smaller map, the stream of the rows above sees nothing
        raise UserError(f"--model pixelcnn takes sizes from {2**levels} up with --levels {levels}; {spec.name} is "
                        f"{spec.shape[0]}x{spec.shape[1]}. Use fewer levels")
    return {"P": PixelCNN(spec, filters, blocks, levels, mixtures, dropout)}
