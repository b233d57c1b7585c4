"""The record of a run's settings, and how a command line becomes one. Imports nothing of ours.

Precedence: command line > the recipe's settings for that data set > the defaults below.
"""
import contextlib
import dataclasses
import difflib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_type_hints

import tyro

Record = TypeVar("Record")


class UserError(Exception):
    """Input that cannot be used. The message names the flag or file, what was found and what to do."""


def brief(error: BaseException) -> str:
    """The message of a library's error in one line that is not too long."""
    return " ".join(str(error).split())[:160]


class Spec(NamedTuple):
    """What a model and a recipe need to know of a data set."""

    name: str
    shape: tuple[int, int, int]  # height, width, channels
    classes: int

    def logits(self, head: str) -> int:
        """Outputs of a discriminator: one per class, one more for a trained fake class, and one if there are no
        classes."""
        return max(1, self.classes + (head == "explicit"))

    @property
    def points(self) -> bool:
        """True if an image is a point of the plane, its two pixels x and y."""
        return self.shape == (1, 2, 1)


class Within(NamedTuple):
    """Bounds of a setting, both allowed; `check` reads them from the field's annotation."""

    low: float
    high: float = 1e9


Count = Annotated[int, Within(1)]
CountOrNone = Annotated[int, Within(0)]
Updates = Annotated[int, Within(1, 1000)]  # of a player in a step; an interrupt waits for the step's end
Seed = Annotated[int, Within(0, 2**32 - 1)]
Threads = Annotated[int, Within(0, 1024)]  # of some tens of thousands torch crashes
Rate = Annotated[float, Within(0, 10)]
Share = Annotated[float, Within(0, 1)]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings that every recipe has; a recipe adds its own by subclassing."""

    dataset: str = "Digits"
    """Data set: Digits, Circles (both embedded), MNIST, Fashion, SVHN, CIFAR10, or one of your own."""
    recipe: str = "improved-gan"
    """Training method, one of the names above; the file of that name in recipes/ describes it."""
    model: str = "mlp"
    """Networks (discriminator and, where the recipe has one, generator), one of the names above."""
    labels: Count = 100
    """Labelled training images, the same number of each class; every other label stays hidden."""
    label_seed: Seed = 1
    """Chooses the labelled images. Several values: a run for each, paired with those of --seed."""
    labelled: str = ""
    """Which training images are labelled: a file of their row numbers, one a line, as labelled.txt of a run folder;
    or all, for every label that the data set has. In place of --labels and --label_seed."""
    seed: Seed = 1
    """Initial weights, order of the images and noise. Several values (--seed 1 2 3): as many runs, and their mean."""
    validation: CountOrNone = 0
    """Training images held out (never trained on) to watch accuracy/validation, of those whose label is not used.
    0: none; with --select validation a fifth of the training images, 1000 at most."""
    select: Literal["last", "validation"] = "last"
    """Checkpoint that counts: the last, or the one with the best accuracy on validation images (if tied, the first)."""
    epochs: Annotated[float, Within(1e-6)] = 100.0
    """Passes over the unlabelled images."""
    steps: CountOrNone = 0
    """Training steps; if not 0, used in place of --epochs."""
    batch_size: Annotated[int, Within(2)] = 100
    """Images of each kind (labelled, unlabelled, generated) in a step."""
    learning_rate_d: Rate = 3e-4
    """Learning rate of the discriminator, which is the classifier."""
    decay_from: Share = 1.0
    """Share of the training after which the learning rates fall linearly to 0 (1: never)."""
    flip: bool = False
    """Mirror each real image left to right with probability 1/2."""
    shift: CountOrNone = 0
    """Move real images by up to so many pixels along each axis, at random."""
    average: Annotated[float, Within(0, 0.9999999)] = 0.9999
    """Decay per step of the averaged weights that are evaluated (0: evaluate the raw weights)."""
    weight: tuple[str, ...] = ()
    """Weights of loss terms, e.g. D/real=0 G/feature_matching=2 (a term not named keeps weight 1)."""
    device: str = "auto"
    """auto (CUDA where there is one), cpu, cuda or cuda:N."""
    data: Literal["auto", "device", "host", "disk"] = "auto"
    """Where the training images lie: in the device's memory, in the host's, or in their file.
    auto: the first of these whose free memory is twice what they need."""
    precision: Precision = "auto"
    """Arithmetic of products and convolutions (auto: bfloat16 where the hardware multiplies it, else float32).
    Losses, averages and evaluation are always float32."""
    threads: Threads = 0
    """Threads of a CPU (0: as many as the networks keep busy). The results of another number differ in rounding."""
    graph: bool = True
    """On CUDA, record each player's update (that of D, that of G) as a CUDA graph and replay it."""
    compile: bool = False
    """Let torch.compile make the losses, and on CUDA the batches, Adam and the average.
    It takes up to a minute at the start, and results differ in rounding."""
    log_every: CountOrNone = 0
    """Steps between lines of metrics.jsonl and points of the loss curves.
    0: 50, on a GPU a hundredth of the run, but at least 50 and at most 2000; of short runs a tenth."""
    eval_every: CountOrNone = 0
    """Steps between evaluations on the test set, for the curve only.
    0: a twentieth of the run, at most 2000 (on a GPU a fifth, at most 5000; over 100,000 steps a twentieth, at most
    10000), or more seldom where evaluation would take more than about 3 % of the time."""
    save_every: CountOrNone = 0
    """Steps between checkpoints.
    0: a twentieth of the run, from 50 to 2000 (on a GPU what 0 is for --eval_every, at most 10000)."""
    keep: Count = 2
    """Newest checkpoints kept."""
    prefix: str = "default"
    """First part of the run folder's name."""
    train_dir: Path = Path("train_dir")
    """Folder of the run folders."""
    data_dir: Path = Path("datasets")
    """Folder of the data sets (<name>/data.h5), as written by download.py."""
    checkpoint: str = ""
    """Run folder or model-<step>.pt to resume from; its settings are kept."""
    dry_run: bool = False
    """Print the resolved settings and stop."""


@dataclasses.dataclass(frozen=True)
class GanConfig(Config):
    """Settings of every recipe that has a generator."""

    head: Literal["implicit", "explicit"] = "implicit"
    """Fake class: its logit fixed at 0 (implicit, K logits) or trained (explicit, K+1 logits)."""
    learning_rate_g: Rate = 3e-4
    """Learning rate of the generator."""
    sample_every: CountOrNone = 0
    """Steps between sample grids (0: what 0 is for --save_every)."""


ACTIONS = ("checkpoint", "dry_run")  # asked of one command, not a property of the run


def within(record: Any) -> None:
    """UserError for the first field of a record of settings that is out of its bounds; NaN is in none, None in all."""
    for name, hint in get_type_hints(type(record), include_extras=True).items():
        for bounds in getattr(hint, "__metadata__", ()):
            value = getattr(record, name)
            if isinstance(bounds, Within) and value is not None and not bounds.low <= value <= bounds.high:
                raise UserError(f"--{name} {value}: must be from {bounds.low:.10g} to {bounds.high:.10g}")


def check(cfg: Config) -> None:
    """UserError for the first setting that cannot be."""
    within(cfg)
    if not re.fullmatch(r"[\w-][\w.-]{0,79}", cfg.prefix):
        raise UserError(f"--prefix {cfg.prefix!r}: use at most 80 letters, digits, '_', '-' and '.', the first no '.'")


def as_dict(cfg: Config) -> dict:
    """The settings as plain text and numbers, without the actions."""
    plain = {name: value for name, value in dataclasses.asdict(cfg).items() if name not in ACTIONS}
    return {name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()}


def from_dict(settings: type[Config], plain: dict) -> Config:
    """The inverse of `as_dict`; a missing or unknown name, or an unsound value, raises ValueError or TypeError."""
    fields = {f.name: f.default for f in dataclasses.fields(settings) if f.name not in ACTIONS}
    if fields.keys() != plain.keys():
        odd = ", ".join(sorted(fields.keys() ^ plain.keys()))
        raise ValueError(odd)
    return settings(**{name: type(fields[name])(value) for name, value in plain.items()})


def nearest(name: str, known: Iterable[str], what: str) -> str:
    """The entry of `known` that is `name` in any case, with `_` for `-` or the other way round; UserError with the
    nearest one if there is none."""
    known = list(known)
    by_key = {entry.lower().replace("_", "-"): entry for entry in known}
    key = name.lower().replace("_", "-")
    if key in by_key:
        return by_key[key]
    close = difflib.get_close_matches(key, by_key, n=1, cutoff=0.5)
    hint = f"did you mean {by_key[close[0]]}? " if close else ""
    raise UserError(f"{what}: there is no {name!r}; {hint}Known: {', '.join(known)}")


def flags(argv: Sequence[str]) -> list[str]:
    """Names of the flags given, with `_`; UserError for one given twice."""
    names = [word.partition("=")[0].replace("-", "_").lstrip("_") for word in argv if word.startswith("--")]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--{twice[0]}: given twice; write all values after one flag")
    return names


def action(argv: Sequence[str], own: Mapping[str, set[str]], shared: set[str], usual: str) -> str:
    """Which of several things the command line asks for: the first key of `own` that is a flag there, else `usual`.
    UserError for a flag that does not go with it: `own` tells which go with each, those `shared` go with all."""
    given = {name.removeprefix("no_") for name in flags(argv)} - shared
    asked = next((name for name in own if name in given), usual)
    if odd := sorted(given - {asked} - own[asked]):
        owners = [f"--{name}" for name, others in own.items() if odd[0] in others and name != usual]
        raise UserError(f"--{odd[0]}: " + (f"only used with {' or '.join(owners)}" if asked == usual and owners else
                                           f"not used with --{asked}") + "; leave it out")
    return asked


def parse(record: type[Record], argv: Sequence[str], prog: str, description: str,
          default: Record | None = None, foreign: Mapping[str, str] | None = None) -> Record:
    """Command line to record, by tyro; flags take `_` and `-`. Exits with 0 after --help. `foreign` are flags that
    the record does not have, with the reason that a user who gives one is told.

    Tyro frames its messages in a box; a user gets them in at most two lines, as UserError.
    """
    for name in flags(argv):
        if name in (foreign or {}):
            raise UserError(f"--{name}: {foreign[name]}")
    framed = io.StringIO()
    try:
        with contextlib.redirect_stderr(framed):
            return tyro.cli(record, args=list(argv), prog=prog, description=description, use_underscores=True,
                            config=(tyro.conf.DisallowNone,), **({} if default is None else {"default": default}))
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_unframed(framed.getvalue())) from None


def _unframed(box: str) -> str:
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]
    parts = [*re.split("[─-]{10,}", " ".join(lines).lstrip("- ")), ""]  # "-" where the output cannot take "─"
    what = re.sub(r" *Got errors:.*", "", parts[0].strip())
    what = re.sub(r"Unrecognized options: (?!-)(.+)", r"\1: belongs to no flag, or is one value too many for it", what)
    what = what.replace("invalid literal for int() with base 10:", "not a whole number:")
    what = re.sub(r"no type matching INT could be instantiated from \['(.*)'\]\.", r"not a whole number: '\1'", what)
    what = what.replace("could not convert string to float:", "not a number:")
    what = re.sub(r"Missing from \S+: (--\w+).*", r"\1: must be given", what)
    meant = re.findall(r"--[\w-]+", parts[1]) if "you meant" in parts[1] else []
    if asked := re.search(r"--[\w-]+", what):  # the nearest three, each once
        meant = difflib.get_close_matches(asked[0], set(meant), 3, 0.0)
    return what + "\n" + (f"Did you mean {' or '.join(meant)}? " if meant else "") + "--help lists every flag."


def guarded(main: Callable[[list[str]], int | None]) -> None:
    """Run a script: bad input ends in one or two lines and status 2, an interrupt, or a request to end, in status
    130."""
    for name in ("SIGTERM", "SIGHUP"):
        if (number := getattr(signal, name, None)) and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, signal.default_int_handler)
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # file names need not be text
            stream.reconfigure(errors=errors)
    # TensorBoard's thread; its error comes up again in ours.
    threading.excepthook = lambda args: isinstance(args.exc_value, OSError) or threading.__excepthook__(args)
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        message, status = f"error: {error}", 2
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    except BrokenPipeError:  # the reader of our output has seen enough, as `| head` has
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, so that the flush at exit does not fail again
        sys.exit(141)
    except OSError as error:  # a disk that fills up or goes away under a running command
        message, status = f"error: {error.filename or 'disk'}: {error.strerror or error}", 2
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; to import torch here would cost seconds
            raise
        remedy = "Take a smaller --batch_size, --data host, or fewer values of --seed at once"
        message, status = f"error: {brief(error)}\n{remedy}", 2
    with contextlib.suppress(OSError):  # where nobody reads it
        print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(status)
