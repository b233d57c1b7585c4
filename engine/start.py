"""A run's folder, new or gone on with, and the run in it ready to train."""
import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from config import UserError
from datasets import files, published
from engine import density, log
from engine.loop import TOLD, Training
from engine.run import Run, record

WHERE = {"device": "on the device", "host": "in the host's memory", "disk": "read from their file"}


def prepare(run: Run, path: Path | None) -> Training:
    """The run, new or gone on with from that checkpoint, ready to train in its folder, which it prints."""
    cfg, training = run.cfg, in_folder(run, path.parent, path) if path else in_new_folder(run)
    if training.finished:
        print(f"{training.folder}: finished already, at step {cfg.steps}; a larger --steps trains on", file=TOLD)
    hidden = int((run.data.arrays.train_label >= 0).sum()) - cfg.labels - cfg.validation
    if hidden > 0 and not published(cfg.dataset):
        print(f"{hidden} more labels of {cfg.dataset} stay hidden; --labels NUMBER uses more of them, --labelled all "
              "every one", file=TOLD)
    print(f"{cfg.recipe} on {cfg.dataset}: {cfg.labels} of {len(run.pipeline.split.pool)} images labelled, "
          f"{cfg.steps} steps in {cfg.precision} on {run.device}, images {WHERE[run.pipeline.storage.place]}, "
          f"folder {training.folder}", file=TOLD)
    return training


def in_new_folder(run: Run) -> Training:
    """A new run folder with the settings, the labelled rows and a copy of the density model in it, ready to train."""
    folder = log.make_folder(run.cfg)
    try:
        if "density" in run.state.nets:
            with files.whole(folder / density.FILE) as new:
                shutil.copyfile(run.cfg.density, new)
        training = in_folder(run, folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise UserError(f"--train_dir {run.cfg.train_dir}: cannot be written ({error.strerror}); name another folder"
                        ) from None
    return training


def in_folder(run: Run, folder: Path, path: Path | None = None) -> Training:
    """The run of that folder, ready to train from where its state is, which was read from the checkpoint `path`."""
    facts = {name: fact for name, fact in record(run).items() if not isinstance(fact, torch.Tensor)}
    check_own(folder, facts)
    training = Training(run, folder, path)
    try:
        for name, text in (("config.json", json.dumps(facts, indent=1) + "\n"),
                           ("labelled.txt", "".join(f"{row}\n" for row in run.pipeline.split.labelled))):
            with files.whole(folder / name) as new:
                new.write_text(text)
    except BaseException:
        training.close()
        raise
    return training


def check_own(folder: Path, facts: dict[str, Any]) -> None:
    """UserError where the config.json of a folder is that of another run, whose files would be lost."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # none, or a damaged one
        there = json.loads((folder / "config.json").read_text())
        if any(there["settings"][name] != facts["settings"][name] for name in ("recipe", "dataset", "seed")) or \
                there["labelled_digest"] != facts["labelled_digest"]:
            raise UserError(f"{folder / 'config.json'}: of another run; put the checkpoint into a folder of its own")
