"""How fast a training step is, against a plain implementation of the same step, in one run.

    python benchmarks/step.py --dataset MNIST --recipe improved-gan --output FILE.json
    python benchmarks/step.py                            # every recipe x data set x precision that go together

The plain step is what public PyTorch ports do: a DataLoader with per-image transforms, a forward pass of its own for
labelled, unlabelled and generated images, float32 (in convolutions on a GPU what torch makes of it by default,
TF32), the library's weight_norm and Adam, an average in a Python loop,
`loss.backward()` into every net whichever is updated, `.item()` on every loss. (So ImprovedGAN.py of
github.com/Sleepychord/ImprovedGAN-pytorch and its descendants: trainG differentiates D of generated and of real images,
and throws D's gradients away.) Both steps compute the same losses of the same nets, by turns, so that what else the
machine does falls on both. The images are random bytes of the data set's shape and number.
"""
import contextlib
import copy
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import functional as transforms

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import models
import ops
import recipes
from benchmarks import common
from config import Config, CountOrNone, Precision, UserError, guarded, nearest, parse, within
from datasets import DATASETS
from datasets.pipeline import Batch
from engine.graph import Graph
from engine.run import Run

BLOCKS = 7  # of each step, by turns; the median counts


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured."""

    dataset: tuple[str, ...] = ()
    """Data sets; all if none is named."""
    recipe: tuple[str, ...] = ()
    """Recipes; all if none is named."""
    precision: tuple[Precision, ...] = ()
    """Arithmetic; if not given, auto where a recipe is named, and float32 and bfloat16 where none is."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    batch_size: CountOrNone = 0
    """Images in a batch; 0: as the recipe has it."""
    compile: bool = False
    """Compile the fast step (torch.compile)."""
    workers: CountOrNone = 0
    """Processes of the plain step's DataLoader."""
    seconds: common.Seconds = 20.0
    """Time for each row of the table."""
    output: str = ""
    """JSON file for the table, with the device and the versions."""


class Pictures(Dataset):
    """Images one at a time, as torchvision's data sets give them."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, pixels: ops.Pixels):
        self.images, self.labels, self.pixels = images, labels, pixels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = transforms.to_tensor(Image.fromarray(self.images[i].squeeze(-1) if self.images.shape[-1] == 1
                                                     else self.images[i]))
        mean, std = self.pixels.offset / 255, self.pixels.divisor / 255
        return transforms.normalize(image, mean, std), int(self.labels[i])


class PlainNoise(nn.Module):
    """x + sigma * N(0, 1)."""

    def __init__(self, sigma: float):
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sigma * torch.randn_like(x) if self.training else x


def plain_nets(run: Run) -> dict[str, nn.Module]:
    """The run's nets of library parts: weight_norm with trained scales, noise of randn, Dropout, contiguous."""
    nets = models.build(run.cfg, run.data.spec, run.recipe.trained(run.cfg))
    for name, net in run.state.nets.items():
        nets[name].load_state_dict(net.state_dict())
        for module in list(nets[name].modules()):
            for key, child in module.named_children():
                if isinstance(child, ops.GaussianNoise):
                    setattr(module, key, PlainNoise(child.sigma))
                if isinstance(child, ops.Dropout):
                    setattr(module, key, nn.Dropout(child.p))
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")
                parametrizations.weight_norm(module, dim=1 if isinstance(module, nn.ConvTranspose2d) else 0)
    return {name: net.to(run.device) for name, net in nets.items()}


class Plain:
    """The plain training step of a run."""

    def __init__(self, run: Run, workers: int):
        self.run, self.nets = run, plain_nets(run)
        arrays, split, judge = run.data.arrays, run.pipeline.split, self.nets[run.state.evaluated]
        self.labelled, self.unlabelled = (
            self._endless(arrays.train_image[rows], arrays.train_label[rows], judge.pixels, workers)
            for rows in (split.labelled, split.pool))
        self.optimisers = {}
        for player in run.players:
            mine = [p for name in player.trains for p in self.nets[name].parameters()]
            betas = run.state.optimisers[player.name].param_groups[0]["betas"]
            self.optimisers[player.name] = mine, torch.optim.Adam(mine, lr=run.state.full_rates[player.name],
                                                                  betas=betas, foreach=False)
        self.averaged = copy.deepcopy(judge)

    def _endless(self, images: np.ndarray, labels: np.ndarray, pixels: ops.Pixels, workers: int) -> Iterator:
        if not len(images):
            return iter(())
        size = self.run.cfg.batch_size
        repeated = np.resize(np.arange(len(images)), max(len(images), 20 * size))  # few labelled images: fewer epochs
        loader = DataLoader(Pictures(images[repeated], labels[repeated], pixels), size, shuffle=True, drop_last=True,
                            num_workers=workers, persistent_workers=workers > 0, pin_memory=torch.cuda.is_available())
        return itertools.chain.from_iterable(itertools.repeat(loader))

    def step(self) -> list[float]:
        """One update of each player; the losses as numbers."""
        device, numbers = self.run.device, []
        for player in self.run.players:
            for _ in range(player.times):
                x_unl, y_unl = (part.to(device) for part in next(self.unlabelled))
                # A port loads labelled images only for the player that looks at them.
                x_lab, y_lab = next(self.labelled) if "supervised" in player.terms else (x_unl, y_unl)
                G = self.nets.get("G")
                z = G.prior(self.run.cfg.batch_size, device) if G is not None else None
                batch = Batch(x_lab.to(device), y_lab.to(device), x_unl, y_unl, z, torch.zeros((), device=device),
                              x_unl if self.run.recipe.second_view else None)
                terms = player.loss({**self.nets, "averaged": self.averaged}, batch)
                total = sum(terms.values())
                for _, optimiser in self.optimisers.values():
                    optimiser.zero_grad()
                total.backward()
                mine, optimiser = self.optimisers[player.name]
                if player.clip:
                    torch.nn.utils.clip_grad_norm_(mine, player.clip)
                optimiser.step()
                numbers += [term.item() for term in (*terms.values(), total)]
                judge = self.run.state.evaluated
                if judge in player.trains and self.run.cfg.average:
                    with torch.no_grad():
                        for a, p in zip(self.averaged.parameters(), self.nets[judge].parameters(), strict=True):
                            a.mul_(self.run.cfg.average).add_(p, alpha=1 - self.run.cfg.average)
        return numbers


@contextlib.contextmanager
def separate_forwards() -> Iterator[None]:
    """Inside, a discriminator sees labelled, unlabelled and generated images in calls of their own, all with their
    gradients and with weights normalised anew."""
    kept = ops.verdicts, ops.features
    ops.verdicts = lambda D, real, fake: [D(x) for x in (*real, fake)]
    ops.features = lambda D, fake, real: (D(fake).features, D(real).features)
    try:
        yield
    finally:
        ops.verdicts, ops.features = kept


def measure(run: Run, seconds: float, workers: int) -> dict[str, Any]:
    """One row of the table."""
    fast, plain = run.step, Plain(run, workers)

    def slow() -> None:
        # With torch's own settings of cuDNN: ours ask for float32 in float32 and for the same result each time.
        with separate_forwards(), torch.backends.cudnn.flags(enabled=True, deterministic=False, allow_tf32=True):
            plain.step()

    counts = {}
    # A replayed CUDA graph would count as nothing, and what is compiled under a counter stays uncompiled.
    with FlopCounterMode(display=False) as counter, torch.compiler.set_stance("force_eager"):
        fast()
    for update in fast.updates:
        if isinstance(update, Graph):
            update.calls = 0  # that one warmed nothing up

    def rate(step: Callable[[], Any], count: int) -> float:
        if step is slow:
            for _ in range(2 * workers):  # batches that were loaded during the other's turn
                slow()
        return common.rate(step, count, run.device)

    for step in (fast, slow):
        common.rate(step, common.WARM_UP, run.device)
        counts[step] = max(1, round(seconds / 2 / BLOCKS * rate(step, 2)))
    rates = [tuple(rate(step, counts[step]) for step in (fast, slow)) for _ in range(BLOCKS)]
    fast_its, plain_its = (median(column) for column in zip(*rates, strict=True))
    images = run.cfg.batch_size * sum(player.times for player in run.players)
    tflops, peak = counter.get_total_flops() * fast_its / 1e12, common.peak(run.device, run.cfg.precision)
    return {"recipe": run.cfg.recipe, "model": run.cfg.model, "precision": run.cfg.precision,
            "batch_size": run.cfg.batch_size, "compiled": run.cfg.compile, "plain_workers": workers,
            "plain_its": plain_its, "fast_its": fast_its, "ratio": median(f / p for f, p in rates),
            "unlabelled_images_per_second": images * fast_its, "gflop_per_step": counter.get_total_flops() / 1e9,
            "tflops": tflops, "peak_tflops": peak, "share_of_peak": tflops / peak}


def rows(options: Options) -> Iterator[dict[str, Any]]:
    """The table, row by row as it is measured."""
    names = [nearest(name, DATASETS, "--dataset") for name in options.dataset] or list(DATASETS)
    chosen = [recipes.find(name) for name in options.recipe] or list(recipes.RECIPES.values())
    precisions = options.precision or (("auto",) if options.recipe else ("float32", "bfloat16"))
    for recipe, name, precision in itertools.product(chosen, names, precisions):
        cfg: Config = recipes.defaults(recipe, DATASETS[name].spec)
        cfg = dataclasses.replace(cfg, precision=precision, device=options.device, compile=options.compile,
                                  batch_size=options.batch_size or cfg.batch_size)
        try:
            with common.synthetic(DATASETS[name].spec, cfg) as run:
                yield measure(run, options.seconds, options.workers) | {"dataset": name}
        except UserError as error:
            if options.recipe and options.dataset:
                raise
            print(f"{recipe.name} on {name}, left out: {error}", file=sys.stderr)  # images that it does not take


def main(argv: list[str]) -> None:
    options = parse(Options, argv, "step.py", __doc__)
    within(options)
    table = common.Table(("recipe", "dataset", "precision", "plain_its", "fast_its", "ratio",
                          "unlabelled_images_per_second", "tflops", "peak_tflops", "share_of_peak"))
    for row in rows(options):
        table.add(row)
        table.save(options.output, options.device)  # at once: the whole table takes hours
    table.write(options.output, options.device)


if __name__ == "__main__":
    guarded(main)
