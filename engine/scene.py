"""The picture of a point set: what a classifier makes of the plane, and where the points lie on it."""
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn

from engine import evaluate

SIDE = 256  # values of a byte: the plane is every point that there can be
SCALE = 4  # drawn so large and shown half as large, which makes edges smooth
UNLABELLED = 2000  # most points drawn
COLOURS = np.array([[31, 119, 180], [255, 127, 14], [44, 160, 44], [214, 39, 40], [148, 103, 189], [140, 86, 75],
                    [227, 119, 194], [127, 127, 127], [188, 189, 34], [23, 190, 207]])  # of classes
GREY, PINK = (95, 95, 95), (200, 0, 160)


def draw(averaged: nn.Module, points: np.ndarray, labelled: np.ndarray, labels: np.ndarray,
         generated: np.ndarray | None, device: torch.device) -> np.ndarray:
    """uint8 [height, width, 3], of one size always: the classes that the classifier gives to the plane as colours,
    unlabelled points as dots, labelled ones as discs in the colours of their classes; with generated ones, these as
    crosses, the line on which p(real) = 1/2, and paler colours where it is less. Points are uint8 [N, 1, 2, 1]."""
    y, x = np.mgrid[SIDE - 1:-1:-1, :SIDE]  # y points up
    verdict = evaluate.predict(averaged, np.stack([x, y], -1).astype(np.uint8).reshape(-1, 1, 2, 1), device)
    shares, real = verdict.classes.softmax(1).numpy(), verdict.real.numpy()[:, None]
    if not shares.shape[1]:
        shares = np.ones((len(shares), 1))  # one colour for the whole plane
    colours = COLOURS[np.arange(shares.shape[1]) % len(COLOURS)]
    strength = 0.4 if generated is None else np.where(real > 0, 0.5, 0.2)
    background = 255 + strength * (shares @ colours - 255)
    picture = Image.new("RGB", (SCALE * SIDE, SCALE * SIDE + 56), "white")
    picture.paste(_enlarged(background.reshape(SIDE, SIDE, 3).astype(np.uint8)))
    pen = ImageDraw.Draw(picture)
    for place in _places(points[:UNLABELLED]):
        _disc(pen, place, 3, GREY)
    if generated is not None:
        picture.paste((0, 0, 0), (0, 0), _zeros(real.reshape(SIDE, SIDE)))
        for place in _places(generated):
            _cross(pen, place)
    for place, label in zip(_places(labelled), labels, strict=True):
        _disc(pen, place, 18, tuple(colours[label]), "black")
    _legend(pen, len(labels) > 0, generated is not None)
    return np.asarray(picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX))


def _enlarged(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values).resize((SCALE * SIDE, SCALE * SIDE), Image.Resampling.BILINEAR)


def _zeros(values: np.ndarray) -> Image.Image:
    """A mask of the lines on which values [SIDE, SIDE] pass through 0."""
    above = np.asarray(_enlarged(values)) > 0
    line = np.zeros_like(above)
    line[1:] |= above[1:] != above[:-1]
    line[:, 1:] |= above[:, 1:] != above[:, :-1]
    return Image.fromarray(np.uint8(255) * line).filter(ImageFilter.MaxFilter(5))


def _places(points: np.ndarray) -> np.ndarray:
    """Where points [N, 1, 2, 1] lie in the picture: int [N, 2]."""
    x, y = points.reshape(-1, 2).T.astype(int)
    return SCALE * np.stack([x, SIDE - 1 - y], 1) + SCALE // 2


def _disc(pen: ImageDraw.ImageDraw, place: np.ndarray, radius: int, fill: tuple, outline: str | None = None) -> None:
    x, y = place
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill, outline, width=4)


def _cross(pen: ImageDraw.ImageDraw, place: np.ndarray) -> None:
    x, y = place
    for way in (-8, 8):
        pen.line((x - 8, y - way, x + 8, y + way), PINK, width=4)


def _legend(pen: ImageDraw.ImageDraw, labelled: bool, generated: bool) -> None:
    """What the marks mean, under the plane."""
    y = SCALE * SIDE + 28
    _disc(pen, (260, y), 5, GREY)
    texts = {280: "unlabelled"}
    if labelled:
        _disc(pen, (40, y), 16, "white", "black")
        texts[70] = "labelled"
    if generated:
        _cross(pen, (516, y))
        pen.line((742, y, 796, y), "black", width=5)
        texts |= {540: "generated", 812: "p(real) = 1/2"}
    for x, text in texts.items():
        pen.text((x, y), text, "black", font_size=32, anchor="lm")
