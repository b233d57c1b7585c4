"""Images of a trained generator: drawn from a seed, judged beside real ones, and written."""
import io
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

import losses
from config import UserError
from datasets import files
from engine import evaluate, figures, report, restore, scene, state, world

CHUNK = figures.SAMPLES  # images in one call
LARGEST = 10**8  # pixels of a grid
JUDGED = 10_000  # most images of each kind that are compared
PROJECTIONS = 512
WAYS = 10  # interpolations, each of so many images
NOTE = "not comparable with published FID and Inception scores: the features are this classifier's, not Inception's"


def check(run: restore.Restored, count: int, format: str) -> None:
    """UserError if the run cannot draw so many images, or this machine cannot hold or show them."""
    if "G" not in run.nets:
        raise UserError(f"--generate {count}: a run of {run.cfg.recipe} has no generator; name a run that has one")
    height, width, channels = run.data.spec.shape
    need, free = 4 * count * height * width * channels, world.image_budget(torch.device("cpu"))
    if need > free:  # the images, their file and a copy of each
        raise UserError(f"--generate {count}: needs {need >> 20} MB of memory, of which {free >> 20} MB may be taken; "
                        "ask for fewer")
    factor = figures.enlarged(width)
    most = LARGEST // ((factor * height + 2) * (factor * width + 2))
    if format == "grid" and not run.data.spec.points and count > most:
        raise UserError(f"--generate {count}: a grid shows at most {most} images of this size; ask for fewer, or say "
                        "--format hdf5 or --format files")


def scorer(name: str, run: restore.Restored, own: Path, data_dir: str, device: str) -> restore.Restored | None:
    """The classifier of --scorer, which is to judge images of the run with the checkpoint `own`; None if none is asked
    for. UserError if it cannot."""
    if not name:
        return None
    path, saved = state.selected(name, "--scorer")
    if path.resolve().parent == own.resolve().parent:
        raise UserError(f"--scorer {name}: the run itself, whose classifier was trained against its generator; name "
                        "another run")
    with state.fitting(path, "data"):
        digest, classes = saved["data"]["digest"], saved["data"]["classes"]
    if digest != run.data.digest:
        raise UserError(f"--scorer {name}: trained on other data (digest {digest[:12]}, not {run.data.digest[:12]}); "
                        f"name a classifier of {run.data.spec.name}")
    if not classes:
        raise UserError(f"--scorer {name}: a run without a classifier; name one of another recipe, as supervised")
    return restore.run(saved, path, data_dir, device)


@torch.no_grad()
def images(D: nn.Module, G: nn.Module, count: int, seed: int, device: torch.device) -> np.ndarray:
    """uint8 [count, H, W, C] that depend on the seed alone: more begin with the same ones. All calls have CHUNK
    images, since some generators normalise by the batch."""
    G.eval()
    parts = []
    for number in tqdm(range(-(-count // CHUNK)), desc="generating", unit="batch", disable=None, leave=False):
        world.seed_noise(seed, world.GENERATED, number)
        parts.append(to_host(D.pixels.to_bytes(G(G.prior(CHUNK, device)))))
    return np.concatenate(parts)[:count]


def to_host(pictures: Tensor) -> np.ndarray:
    """[N, C, H, W] on a device to [N, H, W, C]."""
    return pictures.permute(0, 2, 3, 1).cpu().numpy()


def between(a: Tensor, b: Tensor, share: Tensor, normal: bool) -> Tensor:
    """Points [N, n_z] at the shares [N, 1] of the way from a to b [n_z]: on the line, or for normal z on the great
    circle, since the middle of a line is nearer to 0 than such a z ever is (White 2016, arXiv:1609.04468)."""
    if not normal:
        return torch.lerp(a, b, share)
    angle = torch.acos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def is_normal(G: nn.Module) -> bool:
    """Whether z is normal: the uniform ones of this toolkit never pass 1."""
    return bool(G.prior(1000, "cpu").abs().max() > 1)


@torch.no_grad()
def interpolations(D: nn.Module, G: nn.Module, seed: int, device: torch.device) -> np.ndarray:
    """WAYS rows of WAYS images on the way from one z to another: uint8 [WAYS * WAYS, H, W, C]. Each row is drawn among
    as many other z as fill a chunk: z from the middle of a way alone are not what a generator that normalises by the
    batch was trained on."""
    G.eval()
    normal, share = is_normal(G), torch.linspace(0, 1, WAYS, device=device)[:, None]
    rows = []
    for row in range(WAYS):
        world.seed_noise(seed, world.INTERPOLATED, row)
        z = G.prior(CHUNK, device)
        z[:WAYS] = between(z[0].clone(), z[WAYS - 1].clone(), share, normal)
        rows.append(to_host(D.pixels.to_bytes(G(z)[:WAYS])))
    return np.concatenate(rows)


def some(images: np.ndarray, count: int) -> np.ndarray:
    """`count` of the images, the same at every call."""
    return images[np.sort(np.random.RandomState(0).permutation(len(images))[:count])]


def project(images: np.ndarray) -> Tensor:
    """Images [N, H, W, C], as pixels from 0 to 1, on PROJECTIONS random directions of length 1: [N, PROJECTIONS]. The
    directions are the same at every call."""
    size = math.prod(images.shape[1:])
    directions = torch.randn(size, PROJECTIONS, generator=torch.Generator().manual_seed(0))
    directions /= 255 * directions.norm(dim=0)
    return torch.cat([torch.from_numpy(part).flatten(1).float() @ directions
                      for part in np.array_split(images, -(-len(images) // 1000))])


def scores(made: np.ndarray, run: restore.Restored, judge: restore.Restored | None) -> dict[str, Any]:
    """How near the images come to test images, and beside it how near training images come, as plain numbers: each is
    of `images` images of every kind, so that what a finite number adds is the same on both sides."""
    arrays = run.data.arrays
    count = min(len(made), len(arrays.train_image), len(arrays.test_image), JUDGED)
    kinds = {"generated": made[:count], "training": some(arrays.train_image, count),
             "test": some(arrays.test_image, count)}
    points = {kind: project(part) for kind, part in kinds.items()}
    found = {"images": count, "sliced_wasserstein": {
        **{kind: losses.sliced_wasserstein(points[kind], points["test"]).item() for kind in ("generated", "training")},
        "of": f"whole images, pixels from 0 to 1, {PROJECTIONS} projections, distance to test images"}}
    if judge is None:
        return found
    if count < 2:
        raise UserError(f"--generate {len(made)}: --scorer needs at least two images of each kind")
    said = {kind: evaluate.predict(judge.averaged, part, judge.device) for kind, part in kinds.items()}
    features = {kind: verdict.features for kind, verdict in said.items()}
    return {**found, "frechet": {**{kind: losses.frechet(features[kind], features["test"]).item()
                                    for kind in ("generated", "training")}, "features": features["test"].shape[1]},
            "class_score": {kind: losses.class_score(said[kind].classes.double()).item() for kind in kinds},
            "scorer": f"{judge.cfg.recipe}, {judge.cfg.labels} labels, seed {judge.cfg.seed}", "note": NOTE}


def written(folder: Path, made: np.ndarray, format: str, facts: dict[str, Any]) -> Path:
    """The images as generated.png, as PNG files in generated/, or as generated.h5: `image` uint8 [N, H, W, C] with the
    facts as attributes."""
    if format == "hdf5":
        # In memory: HDF5 crashes the process if a disk fills up under it.
        with h5py.File("generated.h5", "w", driver="core", backing_store=False) as file:
            file.create_dataset("image", data=made)
            file.attrs.update(facts)
            file.flush()
            return files.store(folder / "generated.h5", file.id.get_file_image())
    if format == "files":
        digits = len(str(len(made) - 1))
        return files.store(folder / "generated", {f"{i:0{digits}}.png": png(image) for i, image in enumerate(
            to_host(figures.visible(torch.from_numpy(made).permute(0, 3, 1, 2))))})
    return files.store(folder / "generated.png", png(sheet(made, max(10, math.isqrt(len(made) - 1) + 1))))


def sheet(made: np.ndarray, columns: int = 10) -> np.ndarray:
    return figures.grid(torch.from_numpy(made).permute(0, 3, 1, 2), columns)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(file, "png")
    return file.getvalue()


def make(run: restore.Restored, saved: dict[str, Any], path: Path, count: int, format: str, seed: int | None,
         judge: restore.Restored | None) -> tuple[dict[str, Any], list[Path]]:
    """Draw images, score them, and write them into eval/ beside the checkpoint `path`, with pictures of ways between
    them and of their classes: what generated.json holds, and the paths."""
    D, G, arrays, folder = run.nets["D"], run.nets["G"], run.data.arrays, path.parent / "eval"
    seed = run.cfg.seed if seed is None else seed
    facts = {"run": path.resolve().parent.name, "checkpoint": path.name, "recipe": run.cfg.recipe,
             "dataset": run.cfg.dataset, "step": saved["step"], "seed": seed}
    made = images(D, G, count, seed, run.device)
    result = {**facts, "generated": count, "device": run.device.type, "data_digest": run.data.digest,
              **scores(made, run, judge), "versions": world.versions(run.device)}
    pictures = {}
    if not run.data.spec.points:
        pictures["interpolations.png"] = sheet(interpolations(D, G, seed, run.device), WAYS)
    elif format == "grid":
        rows = saved["labelled"].numpy()
        pictures["generated.png"] = scene.draw(run.averaged, arrays.train_image, arrays.train_image[rows],
                                               arrays.train_label[rows], made, run.device)
    if run.data.spec.classes and not run.data.spec.points:
        classes = evaluate.predict(run.averaged, made, run.device).classes.argmax(1).numpy()
        pictures["classes.png"] = figures.by_class(made, classes, run.data.class_names)
    paths = [] if "generated.png" in pictures else [written(folder, made, format, facts)]
    paths += [files.store(folder / name, png(picture)) for name, picture in pictures.items()]
    report.write(folder / "generated.json", {**result, "written": [path.name for path in paths]})
    return result, [folder / "generated.json", *paths]


def summary(result: dict[str, Any]) -> str:
    """What generated.json holds, for a reader."""
    n, sliced = result["images"], result["sliced_wasserstein"]
    lines = [f"{result['recipe']} on {result['dataset']}, generator of step {result['step']}, seed {result['seed']}: "
             f"{result['generated']} images",
             f"scores of {n} generated, {n} test and {n} training images (the last show what is reached by real ones):",
             f"sliced Wasserstein distance to test images {sliced['generated']:.5f}, of training images "
             f"{sliced['training']:.5f} ({sliced['of']})"]
    if "scorer" in result:
        frechet, classes = result["frechet"], result["class_score"]
        lines += [f"by the classifier of {result['scorer']}:",
                  f"Frechet distance to test images {frechet['generated']:.4f}, of training images "
                  f"{frechet['training']:.4f} ({frechet['features']} features)",
                  f"exp(E KL(p(y|x) || p(y))) {classes['generated']:.4f}, of test images {classes['test']:.4f}, of "
                  f"training images {classes['training']:.4f}", result["note"]]
        if n <= frechet["features"]:
            lines.append(f"the Frechet distance is far too high with so few images: ask for many more than "
                         f"{frechet['features']}")
    return "\n".join(lines)
