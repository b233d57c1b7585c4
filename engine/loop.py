"""The training loop: steps, and now and then a look at how it goes."""
import contextlib
import copy
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from config import UserError
from datasets.storage import current_stream
from engine import evaluate, figures, log, report, state
from engine.run import Run, accuracy_sets, record
from engine.writer import Writer


class Told:
    """Standard error; where nobody reads it any more, what is written is lost, not the training."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


TOLD = Told()


class Training:
    """One run on its way. The losses of steps stay on the device until they are written or saved."""

    def __init__(self, run: Run, folder: Path, path: Path | None = None):
        """`path` is the checkpoint in the folder that the run goes on from."""
        self.run, self.cfg, self.state, self.folder = run, run.cfg, run.state, folder
        self.log = log.Log(folder, run.cfg, run.state.step, path)
        self.names = [name for p in run.players for name in (*(f"{p.name}/{t}" for t in p.terms), p.name)]
        self.waiting: list[torch.Tensor] = []  # losses of steps, still on the device
        self.writer = Writer()  # of pictures and checkpoints
        self.saving: Future | None = None  # the last checkpoint
        self.saved_at = run.state.step or None  # its step; a run that is gone on with has that of its start
        self.sets = accuracy_sets(run)
        self.shown: dict[str, str] = {}
        self.stop, self.flushed_at = False, (run.state.step, time.monotonic())
        self.test_errors: int | None = None  # at the last step
        self.bits = ""  # per dimension, in words
        self.line: int | None = None  # of the terminal, for its progress, where several runs share one

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.state.step == self.cfg.steps

    def steps(self) -> Iterator[None]:
        """Train to the last step or until `stop` is set, step by step, and leave a checkpoint there."""
        cfg, state_ = self.cfg, self.state
        # A position of None would hide TQDM_POSITION; in a file, the moves of a cursor between lines are noise.
        place = {} if self.line is None else {"position": self.line * sys.stderr.isatty()}
        bar = tqdm(total=cfg.steps, initial=state_.step, desc=f"{cfg.recipe} {cfg.dataset}", unit="step",
                   dynamic_ncols=True, mininterval=0.5 if sys.stderr.isatty() else 10, file=TOLD, **place)
        try:
            if state_.step == 0:
                self._pictures(real=True)
            if self.run.changed:  # or a kill would undo it
                self._save()
            while state_.step < cfg.steps and not self.stop:
                state_.set_rates(self.run.rate())
                self.waiting.append(self.run.step())
                bar.update()
                self._now_and_then(bar)
                yield
            if self.saved_at != state_.step:
                self._save()
            self.writer.wait()
        finally:
            bar.close()
            self.close()

    def close(self) -> None:
        """Give back what it holds. A run that has neither made a step nor saved a checkpoint leaves no folder."""
        try:
            self.writer.close()
            self.log.close()
        finally:
            if self.state.step == 0 and self.folder.is_dir() and not state.checkpoints(self.folder):
                shutil.rmtree(self.folder, ignore_errors=True)

    def hint(self) -> str:
        """Where a run that did not come to its end stopped, and how it goes on, in words."""
        return f"stopped at step {self.state.step}; go on with: python trainer.py --checkpoint {self._quoted()}"

    def _quoted(self) -> str:
        return shlex.quote(str(self.folder))

    def summary(self) -> str:
        """The accuracy on the test set of the step that counts, where there is a classifier, and what to do next, in
        words."""
        then = f"draw with: python evaler.py --checkpoint {self._quoted()}"
        if not self.run.recipe.classifies:
            if self.run.recipe.evaluated == "density" and not self.bits:  # as below
                self.bits = self._bits()[1]
            return f"trained to step {self.state.step}{self.bits and f', test images {self.bits}'}\n{then}"
        n, best = len(self.sets["test"][1]), self.state.best
        step, wrong = (best["step"], best["test_errors"]) if best else (self.state.step, self.test_errors)
        if wrong is None:  # a finished run was gone on with: no step was made
            wrong = evaluate.errors(self.state.averaged, *self.sets["test"], self.run.device)
        return (f"test accuracy {report.accuracy(wrong, n, step, self.cfg.average)}"
                f"{', best on validation' if best else ''}\nevaluate and {then}")

    def _now_and_then(self, bar: tqdm) -> None:
        step, cfg = self.state.step, self.cfg
        last = self.finished
        if step % cfg.log_every == 0 or last:
            self._flush(bar)
        if step % cfg.eval_every == 0 or last:
            what = bar.desc
            bar.set_description_str(f"{what}testing: ", refresh=sys.stderr.isatty())  # it may take minutes
            self._evaluate(bar)
            bar.set_description_str(what, refresh=False)
        if step % getattr(cfg, "sample_every", cfg.save_every) == 0 or last:
            self._pictures()
        if step % cfg.save_every == 0 or (self.state.best and self.state.best["step"] == step):
            self._save()  # of the last step, `steps` does

    def _check(self) -> None:
        """Fetch the losses from the device; one that is not finite stops the run, with its step named."""
        if not self.waiting:
            return
        values = torch.stack(self.waiting).cpu()
        if not values.isfinite().all():
            row, column = (~values.isfinite()).nonzero()[0].tolist()
            raise self._not_finite(f"loss {self.names[column]}", self.state.step - len(values) + 1 + row)
        self.state.losses += values.tolist()
        self.waiting = []

    def _flush(self, bar: tqdm) -> None:
        """Write the mean losses since the last multiple of the log's interval."""
        self._check()
        step, now = self.state.step, time.monotonic()
        curves = {"rate/steps_per_second": (step - self.flushed_at[0]) / (now - self.flushed_at[1])}
        self.flushed_at = step, now
        columns = zip(*self.state.losses, strict=True)
        means = {name: sum(column) / len(column) for name, column in zip(self.names, columns, strict=True)}
        if step % self.cfg.log_every == 0:  # those behind the last multiple count again if the run is made longer
            self.state.losses = []
        for name, value in means.items():
            player, _, term = name.partition("/")
            curves[log.curve(term) if term else f"loss/{player.lower()}_loss"] = value
            if not term:
                self.shown[player.lower()] = f"{value:.3f}"
        self.log.scalars(step, curves)
        bar.set_postfix(self.shown, refresh=False)

    def _evaluate(self, bar: tqdm) -> None:
        """A look at the test set: the accuracies of a classifier, the bits of a density model."""
        self._check()
        if self.run.recipe.evaluated == "density":
            self._density(bar)
        elif self.run.recipe.classifies:
            self._accuracies(bar)

    def _bits(self) -> tuple[float, str]:
        """Per dimension of the test images, and that in words."""
        bits = evaluate.bits_per_dimension(self.state.averaged, self.run.data.arrays.test_image, self.run.device)
        return bits, f"{bits:.4f} bits per dimension"

    def _density(self, bar: tqdm) -> None:
        bits, self.bits = self._bits()
        self.log.scalars(self.state.step, {"bits_per_dimension/test": bits})
        self.shown["test"] = f"{bits:.3f}"
        bar.set_postfix(self.shown, refresh=False)
        if self.finished:
            self.log.result({"bits_per_dimension/test": bits})

    def _accuracies(self, bar: tqdm) -> None:
        averaged, raw, device = self.state.averaged, self.state.nets["D"], self.run.device
        wrong = {name: evaluate.errors(averaged, *pair, device) for name, pair in self.sets.items()}
        curves = {f"accuracy/{name}": 1 - wrong[name] / len(labels) for name, (_, labels) in self.sets.items()}
        images, labels = self.sets["test"]
        mistakes = wrong["test"] if raw is averaged else evaluate.errors(raw, images, labels, device)
        curves["accuracy/test_raw_weights"] = 1 - mistakes / len(labels)
        best = self.state.best
        if self.cfg.select == "validation" and (not best or curves["accuracy/validation"] > best["accuracy"]):
            self.state.best = {"step": self.state.step, "accuracy": curves["accuracy/validation"],
                               "test_errors": wrong["test"]}
        self.log.scalars(self.state.step, curves)
        self.shown["test"] = f"{curves['accuracy/test']:.2%}"
        bar.set_postfix(self.shown, refresh=False)
        if self.finished:
            self.test_errors = wrong["test"]
            self.log.result({name: curves[name] for name in ("accuracy/test", "accuracy/test_raw_weights")})

    def _pictures(self, real: bool = False) -> None:
        run, split, state_ = self.run, self.run.pipeline.split, self.state
        if real and not run.data.spec.points:
            images = run.pipeline.storage.take(split.pool[:figures.SAMPLES])
            self.writer.do(self.log.picture, state_.step, "img/real", figures.grid(images))
        seen = figures.progress(state_.nets, state_.averaged, run.data, split.labelled, run.cfg.seed, run.device)
        if seen is not None:
            self.writer.do(self.log.picture, state_.step, "img/fake", seen)

    def _not_finite(self, what: str, step: int) -> UserError:
        self.writer.wait()
        kept = state.checkpoints(self.folder)
        where = f"the last good checkpoint is {kept[-1]}" if kept else "there was no checkpoint yet"
        return UserError(f"{what} is not finite at step {step}; {where}.\n"
                         "Try lower learning rates, or --weight factors nearer to 1")

    def _save(self) -> None:
        self._check()
        moments = [t for optimiser in self.state.optimisers.values() for kept in optimiser.state.values()
                   for t in kept.values() if isinstance(t, torch.Tensor)]
        for what, tensors in (("a weight", [t for net in self.state.nets.values() for t in net.state_dict().values()]),
                              ("a moment of an optimiser, so that its weight no longer moves,", moments)):
            sums = [t.sum().to(self.run.device) for t in tensors if t.is_floating_point()]
            if sums and not torch.stack(sums).isfinite().all():
                raise self._not_finite(what, self.state.step)
        if self.saving:
            self.saving.result()  # two copies of the state might be more than fits
        content = copy.deepcopy(self.state.state_dict())  # the next step changes the tensors
        self.saved_at = self.state.step
        self.saving = self.writer.do(self._write, content, current_stream(self.run.device))

    def _write(self, content: dict[str, Any], stream: torch.cuda.Stream | None) -> None:
        torch.cuda.set_stream(stream)
        self.log.sync()
        state.save(content, record(self.run), self.folder, self.cfg.keep)


def stopping() -> list[int]:
    """The signals that ask a training to stop; SIGHUP is left out where nohup ignores it."""
    found = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        found.append(signal.SIGHUP)
    return found


def train(trainings: Sequence[Training],
          lanes: Sequence[contextlib.AbstractContextManager] = ()) -> list[UserError | None]:
    """Train each to its last step, or all until a signal asks to stop; what went wrong with each, of several also told
    at once. Several share a GPU: each has a lane of its own there, and they make their steps in turns. An error that is
    no UserError stops them all, each with a checkpoint."""
    def stop(*_) -> None:
        for training in trainings:
            training.stop = True

    previous = {number: signal.signal(number, stop) for number in stopping()}
    underway = {place: training.steps() for place, training in enumerate(trainings)}
    lanes = lanes or [contextlib.nullcontext()] * len(trainings)
    failed: list[UserError | None] = [None] * len(trainings)
    try:
        while underway:
            for place, steps in list(underway.items()):
                with lanes[place]:
                    try:
                        next(steps)
                    except StopIteration:
                        del underway[place]
                    except UserError as error:
                        del underway[place]
                        failed[place] = error
                        if len(trainings) > 1:
                            tqdm.write(f"{trainings[place].folder}: {error}", TOLD)
    except BaseException:
        stop()
        for place, steps in underway.items():
            with lanes[place], contextlib.suppress(Exception):
                for _ in steps:
                    pass
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return failed
