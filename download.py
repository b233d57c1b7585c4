"""Download data sets and write each as one file, <data_dir>/<name>/data.h5.

    python download.py --dataset MNIST SVHN CIFAR10
    python download.py --all --mirror /path/or/url --trust_mirror
    python download.py --from_folder PICTURES --dataset PETS --size 64      # your own pictures
    python download.py --from_file data.npz --dataset MINE                  # or an HDF5 file of SSGAN-Tensorflow
    python download.py --from_torchvision EMNIST --dataset LETTERS          # any data set that torchvision reads
    python download.py --dataset PETS --suggest 20                          # which images to label first
    python download.py --dataset PETS --labels suggest.csv                  # their labels, filled in
"""
import engine.interrupt  # noqa: F401, before all that takes long

# isort: split
import dataclasses
import sys
from pathlib import Path
from typing import Annotated

from config import UserError, Within, action, guarded, nearest, parse, within
from datasets import DATASETS, fetch, folder, own, path, published


@dataclasses.dataclass(frozen=True)
class Settings(folder.Options):
    dataset: tuple[str, ...] = ()
    """Data sets to get: MNIST, Fashion, SVHN, CIFAR10 (any case). Digits and Circles are embedded: no download.
    Of your own data: the name of the data set."""
    from_file: str = ""
    """File of arrays (.npz), or of images in the HDF5 layout of SSGAN-Tensorflow with its id.txt beside it."""
    from_torchvision: tuple[str, ...] = ()
    """Class of torchvision.datasets and its arguments as key=value.
    Its images are prepared by --size, --resize and --grey."""
    transposed: bool = False
    """Of --from_file: exchange rows and columns (SSGAN-Tensorflow stores CIFAR10 so)."""
    suggest: Annotated[int | None, Within(1, 10_000)] = None
    """Suggest so many training images to label first: writes a table and a picture of them."""
    all: bool = False
    """Get every data set."""
    data_dir: Path = Path("datasets")
    """Folder of the data sets (<name>/data.h5)."""
    mirror: str = ""
    """Folder or http(s) address to take the files from instead: <mirror>/<data set in lower case>/<upstream name>."""
    trust_mirror: bool = False
    """Check files against <mirror>/SHA256SUMS instead of the upstream digests."""
    timeout: Annotated[float, Within(0.001, 86_400)] = 30.0
    """Give up a server after so many seconds without a byte."""


# What is asked for, and the flags that go with it beside --dataset and --data_dir.
PICTURES = {"size", "resize", "grey", "test_share", "seed"}
ACTIONS = {"from_folder": PICTURES | {"labels", "strict"}, "from_file": {"test_share", "seed", "transposed"},
           "from_torchvision": PICTURES, "suggest": {"seed"}, "labels": set(),
           "fetch": {"all", "mirror", "trust_mirror", "timeout"}}


def main(argv: list[str]) -> int:
    settings = parse(Settings, argv, "download.py", __doc__)
    within(settings)
    asked = action(argv, ACTIONS, {"dataset", "data_dir"}, "fetch")
    if asked in ("suggest", "labels"):
        from engine import labels  # not at the top: torch takes seconds

        (labels.suggest if asked == "suggest" else labels.take_in)(settings)
        return 0
    if asked != "fetch":
        own.make(settings, asked)
        return 0
    for name in settings.dataset:
        if not published(name) and (mine := path(name, settings.data_dir)).exists():
            raise UserError(f"--dataset {name}: data of your own, which trainer.py takes as they are, from {mine}")
    names = [nearest(name, DATASETS, "--dataset") for name in (DATASETS if settings.all else settings.dataset)]
    if not names:
        raise UserError("--dataset: no data set is named; name some of "
                        f"{', '.join(name for name in DATASETS if not DATASETS[name].embedded)}, or say --all")
    if settings.trust_mirror and not settings.mirror:
        raise UserError("--trust_mirror: there is no mirror to trust; name it with --mirror")
    return max([_get(name, settings) for name in dict.fromkeys(names)])


def _get(name: str, settings: Settings) -> int:
    """One data set; returns its exit status, so that the others still get their turn."""
    if DATASETS[name].embedded:
        print(f"{name}: embedded, nothing to download", flush=True)
        return 0
    try:
        mirror = settings.mirror.rstrip("/") or settings.mirror
        data, made = fetch.get(DATASETS[name], settings.data_dir, mirror, settings.trust_mirror, settings.timeout)
    except UserError as error:
        print(f"download.py: error: {name}: {error}", file=sys.stderr, flush=True)
        return 2
    train, test = len(data.arrays.train_image), len(data.arrays.test_image)
    print(f"{name}: {path(name, settings.data_dir)} {'is made' if made else 'is already there'}: "
          f"{train} train and {test} test images; {data.source}", flush=True)
    return 0


if __name__ == "__main__":
    guarded(main)
