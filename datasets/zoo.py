"""Any data set that torchvision reads, by the name of its class, to data.h5.

    --from_torchvision EMNIST split=letters        what stands behind the name are arguments of the class
"""
import inspect
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from PIL import Image
from tqdm import tqdm

from config import UserError, brief, nearest
from datasets import convert, folder, h5, photo

# Their upstream files are pickled Python objects, which are never read here.
PICKLED = {"CIFAR10": "use --dataset CIFAR10, which takes the binary files",
           "CIFAR100": "there is no other form of it here",
           **dict.fromkeys(("ImageNet", "LSUN", "LSUNClass"), "name a folder of its pictures with --from_folder")}
LOOKED_AT = 100  # pictures at least that decide whether all are grey
CHOSEN = ("train", "download", "transform", "target_transform", "transforms")  # arguments that nobody else can give


def make(target: Path, name: str, options: Any) -> h5.Data:
    """Write data.h5 at `target`, whose folder is there, and return its content. UserError if torchvision has no such
    data set, cannot get it, or its entries are no images with one class each; OSError from the disk."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="raw-") as raw:
        return _make(target, name, options, Path(raw))


def _make(target: Path, name: str, options: Any, raw: Path) -> h5.Data:
    if not options.from_torchvision:
        raise UserError("--from_torchvision: name a class of torchvision.datasets")
    known, *arguments = options.from_torchvision
    train, test = _parts(known, _arguments(arguments), raw)
    try:
        some = [train[row][0] for row in range(0, len(train), max(1, len(train) // LOOKED_AT))]
    except Exception as error:  # an argument that the class has not looked at before
        raise _failed(known, error) from None
    if not some or not all(isinstance(image, Image.Image) for image in some):
        raise UserError(f"--from_torchvision {known}: its entries are no pictures")
    height, width = folder.sides(options.size) if options.size else some[0].size[::-1]
    grey = options.grey or all(photo.is_grey(image) for image in some)
    look = photo.Look(height, width, options.resize, grey)
    parts, how = [_arrays(part, known, look) for part in (train, test) if part is not None], "its own test images"
    if len(parts) == 1:
        mine, held_out, how = convert.divided(parts[0], options.test_share, options.seed)
        parts = [convert.apart(mine, held_out, f"--from_torchvision {known}")[0], held_out]
    count = 1 + max(int(labels.max()) for _, labels in parts)
    names = [str(entry) for entry in getattr(train, "classes", ())]
    names = names if len(names) == len(set(names)) >= count else [str(k) for k in range(count)]
    *parts, used = convert.trained_classes(*parts, f"--from_torchvision {known}")
    names = [names[k] for k in used]
    source = f"torchvision.datasets.{' '.join(options.from_torchvision)}, {look.resize} to {height} x {width}; {how}"
    return h5.write(target, h5.Arrays(*parts[0], *parts[1]), name, names, source, look.resize)


def _arguments(words: Sequence[str]) -> dict[str, Any]:
    """key=value: whole numbers, sizes as 3x48x40, or text."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"--from_torchvision: {word!r} behind the name; write arguments of the class as key=value")
        if key in CHOSEN:
            raise UserError(f"--from_torchvision: {word!r}: {key} is chosen by download.py; leave it out")
        numbers = [int(n) for n in value.split("x")] if re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*", value) else []
        found[key] = tuple(numbers) if len(numbers) > 1 else numbers[0] if numbers else value
    return found


def _parts(name: str, arguments: dict[str, Any], root: Path) -> tuple[Any, Any]:
    """Its training part and its test part, None where it has none."""
    import torchvision

    classes = {entry: kind for entry in torchvision.datasets.__all__
               if inspect.isclass(kind := getattr(torchvision.datasets, entry))}
    name = nearest(name, classes, "--from_torchvision")
    if name in PICKLED:
        raise UserError(f"--from_torchvision {name}: its files are pickled, which could run code; {PICKLED[name]}")
    kind = classes[name]
    taken = inspect.signature(kind.__init__).parameters
    open_ended = "kwargs" in taken  # passed on to MNIST's
    given = {"root": root} if "root" in taken else {}
    given |= {"download": True} if "download" in taken or open_ended else {}
    given |= {"loader": photo.opened} if "loader" in taken else {}  # torchvision's makes everything RGB
    if "train" in taken or open_ended:
        sides = {"train": True}, {"train": False}
    elif "split" in taken and "split" not in arguments:
        sides = {"split": "train"}, {"split": "test"}
    else:
        sides = {}, None
    for wanted in (p.name for p in taken.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD):
        if wanted not in {"self", *given, *sides[0], *arguments}:
            raise UserError(f"--from_torchvision {name}: must be told its {wanted}; write {wanted}=... behind the name")
    try:
        return tuple(None if side is None else kind(**{**given, **side, **arguments}) for side in sides)
    except Exception as error:  # each class fails in its own way: no such argument, no network, a wrong digest
        raise _failed(name, error) from None


def _failed(name: str, error: Exception) -> UserError:
    advice = "; fetch its files elsewhere and give root=FOLDER" if isinstance(error, URLError) else ""
    return UserError(f"--from_torchvision {name}: {type(error).__name__}: {brief(error)}{advice}")


def _arrays(part: Any, name: str, look: photo.Look) -> convert.Part:
    try:
        images, labels = np.empty((len(part), *look.shape), np.uint8), np.empty(len(part), np.int64)
    except MemoryError:
        raise UserError(f"--from_torchvision {name}: {len(part)} images of {look.height} x {look.width} do not fit "
                        "into memory; give a smaller --size") from None
    for row in tqdm(range(len(part)), name, unit="image"):
        try:
            picture, label = part[row]
            images[row], labels[row] = photo.prepared(picture, look), int(label)
        except (photo.Unusable, TypeError, ValueError, OSError, AttributeError) as error:
            raise UserError(f"--from_torchvision {name}: entry {row} is no picture with one class "
                            f"({' '.join(str(error).split())[:120]})") from None
    return convert.Part(images, labels)
