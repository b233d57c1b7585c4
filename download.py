"""Download data sets and write each as one file, <data_dir>/<name>/data.h5.

    python download.py --dataset MNIST SVHN CIFAR10
    python download.py --all --mirror /path/or/url --trust_mirror
    python download.py --from_folder PICTURES --dataset PETS --size 64      # your own pictures
"""
import dataclasses
import sys
from pathlib import Path

from config import UserError, flags, guarded, nearest, parse, within
from datasets import DATASETS, fetch, folder, path


@dataclasses.dataclass(frozen=True)
class Settings(folder.Options):
    dataset: tuple[str, ...] = ()
    """Data sets to get: MNIST, Fashion, SVHN, CIFAR10 (any case). Digits and Circles are embedded: no download. With
    --from_folder: the name of the new one."""
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
    settings = parse(Settings, argv, "download.py", __doc__)
    own = {field.name for field in dataclasses.fields(folder.Options)}
    given = {name.removeprefix("no_") for name in flags(argv)}
    if settings.from_folder:
        if odd := sorted(given - own - {"dataset", "data_dir"}):
            raise UserError(f"--{odd[0]}: not used with --from_folder; leave it out")
        return _make(settings)
    if odd := sorted(given & own):
        raise UserError(f"--{odd[0]}: only used with --from_folder; leave it out, or name a folder of pictures")
    names = [nearest(name, DATASETS, "--dataset") for name in (DATASETS if settings.all else settings.dataset)]
    if not names:
        raise UserError("--dataset: no data set is named; name some of "
                        f"{', '.join(name for name in DATASETS if not DATASETS[name].embedded)}, or say --all")
    if settings.trust_mirror and not settings.mirror:
        raise UserError("--trust_mirror: there is no mirror to trust; name it with --mirror")
    if not settings.timeout > 0:
        raise UserError(f"--timeout: {settings.timeout} is not a number of seconds above 0")
    return max([_get(name, settings) for name in dict.fromkeys(names)])


def _make(settings: Settings) -> int:
    """The data set of the user's own pictures."""
    within(settings)
    if len(settings.dataset) != 1 or settings.dataset[0].lower() in {name.lower() for name in DATASETS}:
        raise UserError("--dataset: name the new data set, by one name that is none of "
                        f"{', '.join(DATASETS)}; found {' '.join(settings.dataset) or 'no name'}")
    target = path(settings.dataset[0], settings.data_dir)
    if target.exists():
        raise UserError(f"{target}: is already there; delete it, or give the new data set another name")
    data = folder.make(target, settings.dataset[0], settings)
    labels, (height, width, channels) = data.arrays.train_label, data.spec.shape
    print(f"{data.spec.name}: {target} is made: {len(labels)} train ({(labels < 0).sum()} of them unlabelled) and "
          f"{len(data.arrays.test_label)} test images of {height} x {width} x {channels}, {data.spec.classes} classes; "
          f"{data.source}", flush=True)
    return 0


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
