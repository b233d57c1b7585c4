"""Download data sets and write each as one file, <data_dir>/<name>/data.h5.

    python download.py --dataset MNIST SVHN CIFAR10
    python download.py --all --mirror /path/or/url --trust_mirror
"""
import dataclasses
import sys
from pathlib import Path

from config import UserError, guarded, nearest, parse
from datasets import DATASETS, fetch, path


@dataclasses.dataclass(frozen=True)
class Settings:
    dataset: tuple[str, ...] = ()
    """Data sets to get: MNIST, Fashion, SVHN, CIFAR10 (any case). Digits and Circles are embedded: no download."""
    all: bool = False
    """Get every data set."""
    data_dir: Path = Path("datasets")
    """Folder of the data sets (<name>/data.h5)."""
    mirror: str = ""
    """Folder or http(s) address to take the files from instead: <mirror>/<data set in lower case>/<upstream name>."""
    trust_mirror: bool = False
    """Check files against <mirror>/SHA256SUMS instead of the upstream digests."""
    timeout: float = 30.0
    """Seconds without a byte after which a server is given up."""


def main(argv: list[str]) -> int:
    settings = parse(Settings, argv, "download.py", "Download data sets and write each as one data.h5.")
    names = [nearest(name, DATASETS, "--dataset") for name in (DATASETS if settings.all else settings.dataset)]
    if not names:
        raise UserError("--dataset: no data set is named; name some of "
                        f"{', '.join(name for name in DATASETS if not DATASETS[name].embedded)}, or say --all")
    if settings.trust_mirror and not settings.mirror:
        raise UserError("--trust_mirror: there is no mirror to trust; name it with --mirror")
    if not settings.timeout > 0:
        raise UserError(f"--timeout: {settings.timeout} is not a number of seconds above 0")
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
