"""What a run leaves behind: its folder, metrics.jsonl, TensorBoard events and sample grids."""
import contextlib
import json
import math
import os
import re
import time
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from config import Config, UserError, as_dict
from datasets import files
from engine import state

BUSY = "another process trains this run; wait for its end, or stop it"
CURVE = re.compile(r"\w{1,60}/\w{1,60}")
REFERENCE_NAMES = {"supervised": "s_loss", "real": "d_loss_real", "fake": "d_loss_fake"}  # of SSGAN-Tensorflow


def curve(term: str) -> str:
    """The name under which a loss term is logged."""
    return f"loss/{REFERENCE_NAMES.get(term, term)}"


def make_folder(cfg: Config) -> Path:
    """A new run folder; UserError where it cannot be made."""
    which = "named" if cfg.labelled else cfg.label_seed
    name = f"{cfg.prefix}-{cfg.dataset}_{cfg.recipe}_labels{cfg.labels}_{which}_seed{cfg.seed}"
    first = cfg.train_dir / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        str(first).encode()
    except UnicodeEncodeError:  # TensorBoard cannot
        raise UserError(f"--train_dir, --prefix: {str(first)!a} is no name in UTF-8; name another folder") from None
    for path in [first, *(first.with_name(f"{first.name}-{i}") for i in range(2, 100))]:
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # started in the same second
            continue
        except OSError as error:
            raise UserError(f"--train_dir {cfg.train_dir}: cannot be written ({error.strerror}); name another folder"
                            ) from None
        return path
    raise UserError(f"--train_dir {cfg.train_dir}: 100 runs of this name were started in one second; try again")


def read_metrics(folder: Path) -> list[dict]:
    """The lines of metrics.jsonl; what a crash cut off or a hand spoilt is left out."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [found for line in lines if (found := _point(line))]


def _point(text: str) -> dict | None:
    """That line, if it has a step and otherwise curves alone, all of finite numbers."""
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        line = json.loads(text)
        if type(line["step"]) is int and all(math.isfinite(value) and (name == "step" or CURVE.fullmatch(name))
                                             for name, value in line.items()):
            return line
    return None


class Log:
    """Open files of one run, which no other process can go on with meanwhile. On resume, lines past the checkpoint are
    dropped, so that none stands twice."""

    def __init__(self, folder: Path, cfg: Config, step: int, read: Path | None = None):
        """`read` is the checkpoint of that step in the folder; there is none of a new run."""
        self.folder, self.cfg = folder, cfg
        path = folder / "metrics.jsonl"
        files.check_plain(path)
        with open(path, "a") as before:
            files.hold(before, f"{folder}: {BUSY}")
            # Another process may have gone on with the run since its checkpoint was read, and put a new file there.
            if not os.path.samestat(os.fstat(before.fileno()), os.stat(path)):
                raise UserError(f"{folder}: {BUSY}")
            if state.checkpoints(folder)[-1:] != ([read] if read else []):
                raise UserError(f"{folder}: another process has trained this run further; run the command "
                                "again")
            self._begin(path, step)
        self.board = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        if not step:
            self.board.add_text("config", "```json\n" + json.dumps(as_dict(cfg), indent=1) + "\n```")

    def _begin(self, path: Path, step: int) -> None:
        """Drop what is past that step and what a kill left of files, and open the metrics."""
        kept = [line for line in read_metrics(self.folder) if line["step"] <= step]
        for picture in self.folder.glob("samples/*.png"):
            if picture.stem.isdigit() and int(picture.stem) > step:
                picture.unlink()
        for partial in self.folder.glob("*.tmp"):
            partial.unlink()
        with files.whole(path) as new:
            new.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.metrics = open(path, "a", buffering=1)  # noqa: SIM115, closed by close()
        files.hold(self.metrics, f"{self.folder}: {BUSY}")

    def sync(self) -> None:
        """Bring the metrics to the disk, before a checkpoint that is of their last step."""
        os.fsync(self.metrics.fileno())

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics.jsonl and a point of each curve."""
        self.metrics.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """A picture [height, width, C] in TensorBoard; generated ones also as samples/<step>.png."""
        self.board.add_image(name, image, step, dataformats="HWC")
        if name == "img/fake":
            path = self.folder / "samples" / f"{step:08d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image.squeeze()).save(path)

    def result(self, metrics: dict[str, float]) -> None:
        """The settings beside the last accuracy, for TensorBoard's HPARAMS page."""
        settings = {name: value if isinstance(value, int | float | str) else json.dumps(value)
                    for name, value in as_dict(self.cfg).items()}
        for summary in hparams(settings, metrics):
            self.board.file_writer.add_summary(summary)

    def close(self) -> None:
        self.metrics.close()
        self.board.close()
