"""A folder of the user's own pictures to data.h5, by as many processes as there are cores.

Decoded rows go through a file without a name to the disk, so that a set of any size needs little memory and a process
that ends in whatever way leaves nothing.
"""
import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from tqdm import tqdm

from config import Seed, UserError, Within
from datasets import files, h5, labelling, photo
from datasets.convert import DARK
from datasets.layout import Picture, Plan, Problem, arrange, shown

TOGETHER = 16  # files that a process decodes before it answers
LARGEST = 1024  # pixels along a side


@dataclasses.dataclass(frozen=True)
class Options:
    """How a folder of pictures is read."""

    from_folder: str = ""
    """Folder of your own pictures, to be made into the data set that --dataset names (layouts: see README.md)."""
    size: str = ""
    """Height and width of the images in pixels, as 64 or 48x64 (height x width).
    If not given 64, or of a data set of torchvision that of its first image."""
    resize: photo.Resize = "crop"
    """How a picture of other proportions comes to that size: cut at its longer sides, padded with black, stretched."""
    grey: bool = False
    """One channel of grey in place of three of colour."""
    labels: str = ""
    """Table (CSV). With --from_folder: columns file and label; pictures that are not in it are unlabelled.
    Without --from_folder: labels for a data set of your own, columns row and label."""
    test_share: Annotated[float, Within(0.001, 0.9)] = 0.2
    """Share of each class that is held out as test images where there is no test folder."""
    seed: Seed = 1
    """Which pictures are held out, and the order of the rows."""
    strict: bool = False
    """Refuse the folder if any file in it cannot be used, in place of leaving that file out."""


def make(target: Path, name: str, options: Options) -> h5.Data:
    """Write data.h5 at `target`, and files.csv, which tells the file of each training image, and return the content;
    files that are left out or doubtful are told on standard error. UserError if the folder holds no data set or a file
    is refused; nothing is left then, nor after an OSError."""
    if not options.from_folder:
        raise UserError("--from_folder: name a folder with pictures in it")
    look, root = photo.Look(*sides(options.size or "64"), options.resize, options.grey), Path(options.from_folder)
    problems: list[Problem] = []
    plan = arrange(root, options.labels, options.test_share, options.seed, problems)
    listing = labelling.listing(target.parent)
    with tempfile.TemporaryFile(dir=target.parent) as pixels:
        kept = _decode(plan, root, look, pixels, problems)
        _tell(root, problems, options.strict)
        arrays = _arrays(kept, plan.class_names, look, pixels)
        source = _source(plan, look, options, len(problems))
        with files.whole(listing) as new:  # before data.h5, which would take one that is there for its own
            labelling.write_files(new, (shown(picture.file) for picture in kept if not picture.test))
        try:
            return h5.write(target, arrays, name, plan.class_names, source, look.resize)
        except BaseException:
            listing.unlink()
            raise


def _tell(root: Path, problems: Sequence[Problem], strict: bool) -> None:
    """One list of all that was found; UserError if there is anything and that is refused."""
    if not problems:
        return
    these = "1 file is" if len(problems) == 1 else f"{len(problems)} files are"
    print(f"{root}: {these} left out or doubtful:", file=sys.stderr)
    for file, reason in sorted(problems):
        print(f"  {shown(file)}: {reason}", file=sys.stderr)
    if strict:
        raise UserError(f"--strict: {these} unusable or doubtful in {root} (see the list); mend or remove what is not "
                        "right, or leave the flag out")


def sides(size: str) -> tuple[int, int]:
    """Height and width that --size names."""
    numbers = [int(n) for n in size.lower().split("x")] if re.fullmatch(r"\d{1,9}(x\d{1,9})?", size.lower()) else []
    if not numbers or not all(1 <= n <= LARGEST for n in numbers):
        raise UserError(f"--size {size}: write 64, or 48x64 for height x width; 1 to {LARGEST} pixels")
    return numbers[0], numbers[-1]


def _decode(plan: Plan, root: Path, look: photo.Look, pixels, problems: list[Problem]) -> list[Picture]:
    """Write the rows of the usable pictures to the open file and return whose they are. A training picture that is
    also a test picture is left out."""
    kept, seen = [], {}
    found = decoded([str(root / picture.file) for picture in plan.pictures], look)
    bar = tqdm(zip(plan.pictures, found, strict=True), total=len(plan.pictures), unit="picture", desc=root.name,
               mininterval=0.5 if sys.stderr.isatty() else 10)
    with contextlib.closing(found):
        for picture, content in bar:
            if isinstance(content, str):
                problems.append(Problem(picture.file, content))
                continue
            pixels_are = hashlib.blake2b(content, digest_size=16).digest()
            first = seen.setdefault(pixels_are, picture)
            if first.label < 0:  # a labelled one may contradict a later one
                seen[pixels_are] = picture
            if first.test and not picture.test:
                problems.append(Problem(picture.file, f"the same picture as the test picture {shown(first.file)}"
                                        f"{_other_class(picture, first, plan.class_names)}"))
                continue
            if first.label != picture.label and min(first.label, picture.label) >= 0:
                problems.append(Problem(picture.file, f"the same picture as {shown(first.file)}"
                                        f"{_other_class(picture, first, plan.class_names)} (both are kept)"))
            pixels.write(content)
            kept.append(picture)
    pixels.flush()
    return kept


def _other_class(picture: Picture, first: Picture, names: Sequence[str]) -> str:
    same = picture.label in (-1, first.label)
    return "" if same else f", but of class {names[picture.label]}, not {names[first.label]}"


def decoded(paths: Sequence[str], look: photo.Look) -> Iterator[bytes | str]:
    """What `photo.decode_all` says of each path, in order, from as many processes as there are cores."""
    groups = iter([paths[start:start + TOGETHER] for start in range(0, len(paths), TOGETHER)])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    with concurrent.futures.ProcessPoolExecutor(min(cores, -(-len(paths) // TOGETHER)),
                                                multiprocessing.get_context("spawn"), _begin) as pool:
        def ask() -> None:
            if group := next(groups, None):
                with _interrupts_held():
                    waiting.append(pool.submit(photo.decode_all, group, look))

        try:
            for _ in range(2 * cores):  # a bounded number of decoded pictures waits in memory
                ask()
            while waiting:
                yield from waiting.popleft().result()
                ask()
        except concurrent.futures.process.BrokenProcessPool:
            raise UserError("a process that decodes pictures was ended from outside, perhaps for want of memory; "
                            "run the command again with more memory free") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process that starts inside inherits this and never sees Ctrl-C, which is ours to deal with, a moment later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """A decoding process ends when the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _arrays(kept: Sequence[Picture], names: Sequence[str], look: photo.Look, pixels) -> h5.Arrays:
    """Views of the rows in the file: test pictures first, then the training ones."""
    test = sum(picture.test for picture in kept)
    labels = np.array([picture.label for picture in kept], np.int64)
    missing = [name for k, name in enumerate(names) if k not in labels[test:]]
    if missing or not test:
        what = f"training picture of class {shown(missing[0])}" if missing else "test picture"
        raise UserError(f"--from_folder: no {what} can be used: all are in the list above, or test pictures are the "
                        "same; add others")
    rows = np.memmap(pixels, np.uint8, "r", shape=(len(kept), *look.shape))
    if (brightest := rows.max()) < DARK:
        raise UserError(f"--from_folder: no value of any picture is above {brightest}, but white is 255; scale them "
                        "first (pictures of 16 bits are read as using all 16)")
    return h5.Arrays(rows[test:], labels[test:], rows[:test], labels[:test])


def _source(plan: Plan, look: photo.Look, options: Options, left_out: int) -> str:
    test = (f"{options.test_share:.4g} of each class held out as test pictures, seed {options.seed}" if plan.held_out
            else "test pictures from a folder of their own")
    files = "file" if left_out == 1 else "files"
    return (f"pictures of the folder {shown(Path(options.from_folder).resolve().name)}, {look.resize} to "
            f"{look.height} x {look.width}; {test}; {left_out} {files} reported as unusable or doubtful")
