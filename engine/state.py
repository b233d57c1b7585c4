"""All that changes in a run, saved whole. A checkpoint describes itself: no other file is needed to evaluate it."""
import contextlib
import copy
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from config import UserError, brief
from datasets import files
from recipes import Player

FORMAT = 4


class State:
    """Step, networks, one optimiser per player, the average of the first network (the discriminator, or a density
    model), and the losses of the steps that are not yet in a line of the log."""

    def __init__(self, nets: dict[str, nn.Module], players: tuple[Player, ...], average: float,
                 capturable: bool = False):
        """`capturable`: what changes from step to step lies in tensors on the device, as a CUDA graph needs it."""
        self.step, self.nets, self.average, self.capturable = 0, nets, average, capturable
        self.losses: list[list[float]] = []
        self.best: dict[str, float] | None = None  # step, validation accuracy and test errors of the step selected
        self.moves = {p.name: [w for net in p.trains for w in nets[net].parameters()] for p in players}
        self.optimisers = {p.name: p.optimiser(self.moves[p.name]) for p in players}
        self.full_rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in self.optimisers.items()}
        self.evaluated = next(iter(nets))
        judge = nets[self.evaluated]
        self.averaged = copy.deepcopy(judge).requires_grad_(False) if average else judge
        self.seen = {**nets, "averaged": self.averaged}  # by the losses
        pairs = zip(self.averaged.state_dict().values(), judge.state_dict().values(), strict=True)
        self.followed = list(zip(*[(a, p) for a, p in pairs if a.is_floating_point()], strict=True))
        self.average_rate = self._changing(1.0)
        self.toward = toward
        self._rates_in_place()

    def _changing(self, value: float) -> float | Tensor:
        return torch.tensor(value, device=next(self.averaged.parameters()).device) if self.capturable else value

    def _rates_in_place(self) -> None:
        self.factor: float | None = None  # of the rates that were last set
        for optimiser in self.optimisers.values():
            group = optimiser.param_groups[0]
            group["lr"] = self._changing(float(group["lr"]))
            if "capturable" in group:
                group["capturable"] = self.capturable

    def set_average_rate(self, updates: int) -> None:
        """The rate of the average's update number `updates`: (1 - decay) / (1 - decay^n)."""
        if self.average:
            self.average_rate = _set(self.average_rate, (1 - self.average) / (1 - self.average**updates))

    @torch.no_grad()
    def update_average(self) -> None:
        """a <- a + rate (p - a): the decayed mean of the weights so far, without the bias of a start at zero (Kingma &
        Ba 2014, section 3). Running statistics are averaged alike."""
        if not self.average:
            return
        self.toward(*self.followed, self.average_rate)

    def set_rates(self, factor: float) -> None:
        """Every player's learning rate as a share of its full one."""
        if factor == self.factor:
            return
        self.factor = factor
        for name, optimiser in self.optimisers.items():
            group = optimiser.param_groups[0]
            group["lr"] = _set(group["lr"], self.full_rates[name] * factor)

    def state_dict(self) -> dict[str, Any]:
        """Plain containers, tensors and numbers."""
        return {"step": self.step, "losses": self.losses, "best": self.best, "averaged": self.averaged.state_dict(),
                "nets": {name: net.state_dict() for name, net in self.nets.items()},
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take the saved values in place of the present ones."""
        self.step, self.losses, self.best = saved["step"], saved["losses"], saved["best"]
        for name, net in self.nets.items():
            net.load_state_dict(saved["nets"][name])
        self.averaged.load_state_dict(saved["averaged"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(saved["optimisers"][name])
        self._rates_in_place()


def toward(averages: Sequence[Tensor], weights: Sequence[Tensor], rate: float | Tensor) -> None:
    """a <- a + rate (p - a) for each average and weight."""
    if isinstance(rate, Tensor):  # on the device: lerp has no fused kernel for that, but mul has
        away = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(away, rate)
        torch._foreach_add_(averages, away)
    else:
        torch._foreach_lerp_(averages, weights, rate)


def _set(holder: float | Tensor, value: float) -> float | Tensor:
    """The value in the tensor, if there is one to hold it."""
    return holder.fill_(value) if isinstance(holder, Tensor) else value


@contextlib.contextmanager
def fitting(path: Path, what: str) -> Iterator[None]:
    """Turn what goes wrong inside, when a checkpoint from `path` is taken apart, into UserError."""
    try:
        yield
    except torch.OutOfMemoryError:  # a RuntimeError that is not the checkpoint's fault
        raise
    # RuntimeError: load_state_dict; ArithmeticError: a number that is infinite.
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = brief(error)
        raise UserError(f"{path}: its {what} do not fit this version of the toolkit ({reason}); take another "
                        "checkpoint, or the version that wrote it") from None


def save(content: dict[str, Any], record: dict[str, Any], folder: Path, keep: int) -> Path:
    """Write model-<step>.pt with `content` (State.state_dict) and `record` (settings, labelled rows, data) and drop
    all but the `keep` newest and the best. Whole or not at all: temporary name, fsync, rename. UserError where the disk
    does not take it."""
    path = folder / f"model-{content['step']}.pt"
    try:
        with files.whole(path) as new, open(new, "wb") as file:
            torch.save({"format": FORMAT, **record, **content}, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch.save tells of a full disk by its own bookkeeping
        reason = getattr(error, "strerror", None) or "the disk took only a part"
        raise UserError(f"{path}: cannot be written ({reason}); free some space or name another --train_dir") from None
    best = content["best"] and content["best"]["step"]
    for old in checkpoints(folder)[:-keep]:
        if old.name != f"model-{best}.pt":
            old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first."""
    found = [(step, path) for path in folder.iterdir() if (step := _step(path)) is not None]
    return [path for _, path in sorted(found)]


def _step(path: Path) -> int | None:
    """That of a checkpoint, by its name; None for other files."""
    found = re.fullmatch(r"model-(\d+)\.pt", path.name)
    return int(found[1]) if found else None


def find(path: str | Path, flag: str = "--checkpoint") -> Path:
    """The checkpoint that the flag names: a file, the newest of a run folder, or the one written last by any run of a
    folder of runs. UserError if there is none."""
    path = Path(path)
    if path.is_dir():
        if own := checkpoints(path):
            return own[-1]
        others = [found[-1] for run in path.iterdir() if run.is_dir() and (found := checkpoints(run))]
        if not others:
            raise UserError(f"{flag} {path}: the folder holds no model-<step>.pt; name a run folder or train_dir")
        return max(others, key=lambda file: (file.stat().st_mtime_ns, file))
    if not path.is_file():
        raise UserError(f"{flag} {path}: no such file or folder; name a run folder or a model-<step>.pt")
    return path


KEYS = {"format", "settings", "labelled", "validation", "labels", "labelled_digest", "data", "versions", "resumed",
        "step", "losses", "best", "nets", "averaged", "optimisers"}


def load(path: Path) -> dict[str, Any]:
    """The saved record and state; only tensors and plain values are ever unpickled. UserError if the file is damaged
    or no checkpoint of this format."""
    try:
        with warnings.catch_warnings(action="ignore"):  # the refusal is ours to word
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged file fails in ways that torch does not enumerate
        before = _step(path) is not None and checkpoints(path.parent)[0] != path
        remedy = "delete it, and the run goes on from the one before" if before else "name another"
        raise UserError(f"{path}: not a whole checkpoint of trainer.py; {remedy}") from None
    if not isinstance(saved, dict) or saved.keys() != KEYS or saved["format"] != FORMAT:
        found = saved.get("format") if isinstance(saved, dict) else None
        raise UserError(f"{path}: not a checkpoint of format {FORMAT} (found {found!r}, or other contents); name "
                        "one that this version of trainer.py wrote, or use the version that wrote it")
    return saved


def selected(asked: str | Path, flag: str = "--checkpoint") -> tuple[Path, dict[str, Any]]:
    """The checkpoint that counts, and what `load` says of it: the file asked for, or of a folder that with the best
    validation accuracy so far, if the run selects by that (its "selection" then tells so), else the newest. UserError
    if it is not there or not sound."""
    path = find(asked, flag)
    saved = load(path)
    if not saved["best"] or not Path(asked).is_dir():
        return path, saved
    with fitting(path, "selection"):
        step, accuracy = int(saved["best"]["step"]), float(saved["best"]["accuracy"])
        chosen = f"best on validation, step {step} ({accuracy:.2%} of {saved['settings']['validation']} images right)"
    if step != saved["step"]:
        path = path.with_name(f"model-{step}.pt")
        if not path.is_file():
            raise UserError(f"{path}: the checkpoint that is best on validation is gone; name another one")
        saved = load(path)
    return path, {**saved, "selection": f"{chosen}, no selection on test images"}
