"""Evaluate a trained classifier (or density model) on the whole test set and draw its run, or put it to use.

    python evaler.py --checkpoint train_dir                        # the checkpoint written last
    python evaler.py --checkpoint RUN/model-420.pt                 # a certain one
    python evaler.py --checkpoint RUN1 RUN2 RUN3                   # mean and deviation of runs with other seeds
    python evaler.py --checkpoint RUN --generate 1000              # images, and how near they come to the test images
    python evaler.py --checkpoint RUN --suggest 20                 # images whose labels would help most
    python evaler.py --checkpoint RUN --predict PICTURES           # classes of other pictures, to predictions.csv
    python evaler.py --checkpoint RUN --export classifier.pt2      # or .onnx: without this repository
"""
import engine.interrupt  # noqa: F401, before all that takes long

# isort: split
import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from config import UserError, Within, action, flags, guarded, parse, within


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of one evaluation; everything else is in the checkpoint."""

    checkpoint: tuple[str, ...]
    """Run folder, folder of runs (of these the one that wrote a checkpoint last), or a model-<step>.pt.
    Several runs that differ only in their seeds: their mean and standard deviation."""
    publish: bool = False
    """Copy the pictures to figure/result/<dataset>/, replacing those that are there."""
    device: str = ""
    """auto, cpu, cuda or cuda:N; if not given, as in training where this machine has that."""
    data_dir: str = ""
    """Folder of the data sets; if not given, as in training."""
    suggest: Annotated[int | None, Within(1, 10_000)] = None
    """Write a table and a picture of so many training images to label next, in place of an evaluation."""
    predict: tuple[str, ...] = ()
    """Classify these pictures (files, folders, patterns, - for names on standard input), in place of an evaluation."""
    output: Path = Path("predictions.csv")
    """Of --predict: the table to write."""
    export: str = ""
    """Write the classifier to this file, .pt2 or .onnx, in place of an evaluation."""
    generate: Annotated[int | None, Within(1, 1e6)] = None
    """Write so many generated images, pictures and scores of them to eval/, in place of an evaluation."""
    format: Literal["grid", "files", "hdf5"] = "grid"
    """Of --generate: one picture, a PNG file for each image, or one HDF5 file."""
    seed: Annotated[int | None, Within(0, 2**32 - 1)] = None
    """Of --generate and --suggest: decides the images; if not given, as in training."""
    scorer: str = ""
    """Of --generate: a run (as --checkpoint) whose classifier scores the images too."""


# What is asked for, each a function of engine/use.py, and the flags that go with it beside SHARED.
ACTIONS = {"generate": {"format", "scorer", "seed"}, "suggest": {"seed"}, "predict": {"output"}, "export": set(),
           "evaluate": {"publish"}}
SHARED = {"checkpoint", "device", "data_dir"}


def main(argv: list[str]) -> None:
    options = parse(Options, argv, "evaler.py", __doc__)
    within(options)
    asked = action(argv, ACTIONS, SHARED, "evaluate")
    # Imported here, because the processes that decode pictures import this file, too.
    from engine import mean, restore, state, use

    if not options.checkpoint:
        raise UserError("--checkpoint: name a run folder, a folder of runs or a model-<step>.pt")
    if len(options.checkpoint) > 1:
        if given := sorted(set(flags(argv)) - SHARED):
            raise UserError(f"--{given[0]}: is for one run; name only one after --checkpoint")
        mean.over(options.checkpoint, options.data_dir, options.device)
        return
    path, saved = state.selected(options.checkpoint[0])
    use.ACTIONS[asked](options, restore.run(saved, path, options.data_dir, options.device), saved, path)


if __name__ == "__main__":
    guarded(main)
