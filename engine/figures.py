"""Pictures."""
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from tqdm import tqdm

from datasets.h5 import Data
from engine import scene, world

SAMPLES = 100
POINTS = 300  # generated ones in the scene of a point set
DRAWN = 20  # images of a density model
FRAMES = 60  # most pictures of an animation
LOSSES = {"s_loss": "cross-entropy, labelled images [nats]", "d_loss_real": "loss, real unlabelled images [nats]",
          "d_loss_fake": "loss, generated images [nats]", "d_loss": "discriminator's loss, weighted sum [nats]",
          "g_loss": "generator's loss, weighted sum", "p_loss": "density model's loss, weighted sum",
          "bits_per_dimension": "bits per dimension"}
ACCURACIES = {"test": "test, averaged weights", "test_raw_weights": "test, raw weights", "labelled": "labelled images",
              "validation": "validation images"}
NAMED = 30  # most classes whose names and counts fit into the confusion matrix
MISTAKES = 50  # most images on the sheet of errors
Curve = tuple[Sequence[float], Sequence[float]]  # x and y


def grid(images: Tensor, columns: int = 10) -> np.ndarray:
    """uint8 images [N, C, H, W] as one picture [height, width, 3], small ones enlarged by whole factors, grey between
    them. (As torchvision's make_grid, which takes seconds to import.)"""
    factor, columns = enlarged(images.shape[-1]), min(columns, len(images))
    images = visible(images).expand(-1, 3, -1, -1).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    images = functional.pad(images, (2, 0, 2, 0, 0, 0, 0, -len(images) % columns), value=127)
    rows = images.permute(0, 2, 3, 1).unflatten(0, (-1, columns)).permute(0, 2, 1, 3, 4)
    return functional.pad(rows.flatten(2, 3).flatten(0, 1), (0, 0, 0, 2, 0, 2), value=127).cpu().numpy()


def enlarged(width: int) -> int:
    """The factor by which images of that width are enlarged."""
    return max(1, 32 // width)


def visible(images: Tensor) -> Tensor:
    """Of images [N, C, H, W] what can be seen: one channel or three, of two with a blue of 0."""
    if images.shape[1] == 2:
        images = torch.cat([images, torch.zeros_like(images[:, :1])], 1)
    return images[:, :3]


def by_class(images: np.ndarray, classes: np.ndarray, class_names: Sequence[str], columns: int = 10) -> np.ndarray:
    """A row for each class, NAMED at most: the first of the images [N, H, W, C] that a classifier put into it, as
    `classes` [N] says, behind its name and their number. uint8 [height, width, 3]."""
    cells = np.full((min(len(class_names), NAMED), columns, *images.shape[1:]), 127, np.uint8)
    for k, row in enumerate(cells):
        own = images[classes == k][:columns]
        row[:len(own)] = own
    sheet = Image.fromarray(grid(torch.from_numpy(cells).flatten(0, 1).permute(0, 3, 1, 2), columns)).convert("RGB")
    picture = Image.new("RGB", (sheet.width + 120, sheet.height), "white")
    picture.paste(sheet, (120, 0))
    pen, height = ImageDraw.Draw(picture), sheet.height / len(cells)
    for k, name in enumerate(class_names[:len(cells)]):
        text = f"{name[:12]} ({(classes == k).sum()})"
        pen.text((112, (k + 0.5) * height), text, fill="black", font_size=12, anchor="rm")
    return np.asarray(picture)


def progress(nets: Mapping[str, nn.Module], averaged: nn.Module, data: Data, labelled: np.ndarray, seed: int,
             device: torch.device) -> np.ndarray | None:
    """How far a run with those labelled rows has come, as one picture: generated images, or the scene of a point set.
    None where there is nothing to draw: images, but no generator."""
    if not data.spec.points:
        return grid(samples(nets["D"], nets["G"], seed, device)) if "G" in nets else None
    generated = None
    if "G" in nets:
        generated = samples(nets["D"], nets["G"], seed, device, POINTS).permute(0, 2, 3, 1).cpu().numpy()
    images, labels = data.arrays.train_image, data.arrays.train_label
    return scene.draw(averaged, images, images[labelled], labels[labelled], generated, device)


@torch.no_grad()
def samples(D: nn.Module, G: nn.Module, seed: int, device: torch.device, count: int = SAMPLES) -> Tensor:
    """`count` generated images as bytes, from the same z at every call: uint8 [count, C, H, W]."""
    world.seed_noise(seed, world.SAMPLES)
    was_training = G.training
    images = G.eval()(G.prior(count, device))
    G.train(was_training)
    return D.pixels.to_bytes(images)


@torch.no_grad()
def drawn(P: nn.Module, seed: int, device: torch.device) -> np.ndarray:
    """DRAWN images of a density model as one picture, the same at every call; each pixel takes a pass of the model."""
    world.seed_noise(seed, world.SAMPLES)
    with parametrize.cached():  # the weights do not change from pass to pass
        rows = P.eval().sample(DRAWN, device)
        *_, images = tqdm(rows, "drawing", P.shape[0], unit="row", disable=None, leave=False)
    return grid(images)


def pictures(run: Path) -> list[Path]:
    """The pictures <step>.png of a run folder, in order."""
    return sorted(path for path in (run / "samples").glob("*.png") if path.stem.isdecimal())


def animation(path: Path, pictures: Sequence[Path]) -> list[Path]:
    """A looped GIF of at most FRAMES of the pictures <step>.png, evenly chosen, the last one held longer. Each has its
    step written under it. The path in a list, or none where there was no picture."""
    frames = []
    for i in np.linspace(0, len(pictures) - 1, min(len(pictures), FRAMES)).round().astype(int):
        with contextlib.suppress(OSError, SyntaxError):  # a picture that was cut off when the training was killed
            frames.append(_frame(pictures[i]))
    if not frames:
        return []
    frames[0].save(path, save_all=True, append_images=frames[1:], loop=0, duration=[150] * (len(frames) - 1) + [2500])
    return [path]


def _frame(picture: Path) -> Image.Image:
    with Image.open(picture) as image:
        framed = Image.new(image.mode, (image.width, image.height + 16), "white")
        framed.paste(image)
    ImageDraw.Draw(framed).text((4, image.height + 2), f"step {int(picture.stem)}", fill="black", font_size=12)
    # Dithering would make the file several times as large; a median cut would take the colours from small marks.
    return framed.quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


RC = {"text.parse_math": False,  # a class may have "$" in its name
      "axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.4}


@contextlib.contextmanager
def canvas(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    """A matplotlib figure, written to `path` when the block ends."""
    # Imported here, because the trainer needs grids only. pyplot is left out: it would look for a display.
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        figure = Figure(size, dpi=120, layout="constrained")
        yield figure
        figure.savefig(path, format="png")


def losses(folder: Path, found: Mapping[str, Curve], title: str, xlabel: str) -> list[Path]:
    """One picture <name>.png for each curve loss/<name> of `report.curves`, logarithmic where it pays; their paths."""
    drawn = []
    for name in (name.removeprefix("loss/") for name in found if name.startswith("loss/")):
        drawn.append(folder / f"{name}.png")
        ylabel = LOSSES.get(name, f"{name.replace('_', ' ')} loss")
        lines = {"training images": found[f"loss/{name}"], "test images": found.get(f"{name}/test")}
        _curves(drawn[-1], {what: line for what, line in lines.items() if line}, title, xlabel, ylabel,
                logarithmic=True)
    return drawn


def accuracies(path: Path, found: Mapping[str, Curve], title: str, xlabel: str, baseline: float | None) -> None:
    """The curves accuracy/<set> of `report.curves` in one picture, and the accuracy of the same classifier on the
    labels alone."""
    lines = {text: (found[f"accuracy/{name}"][0], [100 * value for value in found[f"accuracy/{name}"][1]])
             for name, text in ACCURACIES.items() if f"accuracy/{name}" in found}
    averaged, raw = ACCURACIES["test"], ACCURACIES["test_raw_weights"]
    if averaged in lines and lines[averaged] == lines.get(raw):  # a run without an average
        lines = {"test" if text == averaged else text: line for text, line in lines.items() if text != raw}
    _curves(path, lines, title, xlabel, "accuracy [%]",
            None if baseline is None else (f"test, labels alone ({baseline:.2%})", 100 * baseline))


def _curves(path: Path, lines: Mapping[str, Curve], title: str, xlabel: str, ylabel: str,
            level: tuple[str, float] | None = None, logarithmic: bool = False) -> None:
    with canvas(path, (7, 4)) as figure:
        axes = figure.subplots()
        for name, (x, y) in lines.items():
            # Raw weights often do as well as averaged ones; through dots the line below is seen.
            style = {"linestyle": ":", "color": "black"} if name == ACCURACIES["test_raw_weights"] else {}
            axes.plot(x, y, label=name, marker="." if len(x) < 50 else "", linewidth=1.3, **style)
        if level:
            axes.axhline(level[1], label=level[0], linestyle="--", color="black", linewidth=1)
        if len(lines) > 1 or level:
            axes.legend()
        axes.set_title(title, fontsize=10)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.locator_params("x", integer=True)
        values = [value for _, y in lines.values() for value in y]
        if logarithmic and min(values) > 0 and max(values) > 10 * min(values):
            axes.set_yscale("log", subs=(2, 5))
            axes.yaxis.set_major_formatter("{x:g}")  # the usual ones write mathematics, which RC turns off
            axes.yaxis.set_minor_formatter("{x:g}" if max(values) < 100 * min(values) else "")


def confusion(path: Path, counts: Sequence[Sequence[int]], class_names: Sequence[str], title: str) -> None:
    """Confusion matrix [K, K] (rows: true class), coloured by the share of the true class; names and counts where
    there are at most NAMED classes."""
    matrix = np.asarray(counts)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    named = len(class_names) <= NAMED
    side = max(5.0, 0.4 * len(class_names) + 1.5) if named else 8.0
    # The shade is the square root of the share, so that rare confusions are seen beside the diagonal.
    from matplotlib.colors import PowerNorm

    names = [name[:20] for name in class_names]
    with canvas(path, (side + 1, side)) as figure:
        axes = figure.subplots()
        shown = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
        figure.colorbar(shown, label="share of the true class", shrink=0.8)
        axes.grid(False)
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="predicted class", ylabel="true class")
        if named:
            axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
            axes.set_yticks(range(len(names)), names)
            for i, j in zip(*matrix.nonzero(), strict=True):
                axes.text(j, i, str(matrix[i, j]), ha="center", va="center", fontsize=8,
                          color="white" if share[i, j] > 0.4 else "black")


def reliability(path: Path, bins: np.ndarray, ece: float, title: str) -> None:
    """Accuracy by confidence against the diagonal, above the share of the images in each bin; `bins` as
    `evaluate.calibration` gives them."""
    images, confidence, accuracy = bins.T
    edges, filled = np.arange(len(bins)) / len(bins), images > 0
    with canvas(path, (5.5, 5.5)) as figure:
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        upper.bar(edges[filled], accuracy[filled], 1 / len(bins), align="edge", edgecolor="white")
        upper.plot(confidence[filled], accuracy[filled], "k.", label="mean confidence of the bin")
        upper.plot([0, 1], [0, 1], "k--", linewidth=1, label="perfect calibration")
        upper.legend(loc="upper center", ncols=2)  # above the bars
        upper.set_title(f"{title}\ncalibration error {ece:.2%}", fontsize=10)
        upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.2), yticks=np.linspace(0, 1, 6))
        lower.bar(edges, images / images.sum(), 1 / len(bins), align="edge", edgecolor="white")
        lower.set(xlabel="confidence", ylabel="share of\nthe images")


def mistakes(path: Path, images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str],
             title: str) -> None:
    """The wrongly classified images [N, H, W, C] of which the classifier was most confident, at most MISTAKES, each
    with its true class, the predicted one and the probability given to that; `probabilities` is [N, K]."""
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != labels)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    captions = ["{}\n→ {}\n{:.1%}".format(*(class_names[k][:14] for k in (labels[i], predicted[i])), confidence[i])
                for i in shown]
    sheet(path, images[shown], captions, f"{title}\nthe {len(shown)} most confident of {len(wrong)} errors")


def places(path: Path, points: np.ndarray, rows: Sequence[int], title: str) -> None:
    """Points uint8 [N, 1, 2, 1] in the plane, those of `rows` with their numbers."""
    x, y = points.reshape(-1, 2).T
    with canvas(path, (7, 7)) as figure:
        axes = figure.subplots()
        axes.plot(x, y, ".", color="lightgrey")
        axes.plot(x[rows], y[rows], "o")
        for row in rows:
            axes.annotate(f" {row}", (x[row], y[row]))
        axes.set_aspect("equal")
        axes.set_title(title, fontsize=10)


def sheet(path: Path, images: Sequence[np.ndarray], captions: Sequence[str], title: str) -> None:
    """The images [N, H, W, C], ten in a row, each with its caption above it."""
    rows, lines = -(-len(images) // 10), 1 + captions[0].count("\n")
    with canvas(path, (10, (0.95 + 0.18 * lines) * rows + 0.6)) as figure:
        figure.suptitle(title, fontsize=10)
        for axes in figure.subplots(rows, 10, squeeze=False).flat:
            axes.axis("off")
        for axes, image, caption in zip(figure.axes, images, captions, strict=False):
            seen = visible(torch.from_numpy(image).permute(2, 0, 1)[None])[0]
            axes.imshow(seen.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=255)
            axes.set_title(caption, fontsize=7)
