"""MNIST: 60,000 + 10,000 handwritten digits of 28x28 pixels (LeCun et al., 1998), and its idx format."""
import gzip
import zlib
from pathlib import Path

import numpy as np

from config import UserError
from datasets.h5 import Arrays
from datasets.source import File, Source


def read_idx(path: Path, *item: int) -> np.ndarray:
    """A gzipped idx file of N items of that shape: uint8 [N, *item]; UserError if it is anything else."""
    header = 4 * (2 + len(item))  # magic number, N, item sizes: big-endian
    try:
        with gzip.open(path) as file:
            magic, count, *sizes = np.frombuffer(file.read(header), ">u4").tolist()
            if magic != 0x0801 + len(item) or tuple(sizes) != item or count > 60_000:
                raise UserError(f"{path.name}: an idx header {magic:#x} {[count, *sizes]} does not fit; "
                                f"expected {0x0801 + len(item):#x} {['N <= 60000', *item]}")
            length = count * int(np.prod(item, dtype=int))
            values = np.frombuffer(file.read(length + 1), np.uint8)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path.name}: damaged gzip or idx file ({error})") from None
    if len(values) != length:
        raise UserError(f"{path.name}: the idx header promises {length} bytes, but there are "
                        f"{'more' if len(values) > length else len(values)}")
    return values.reshape(count, *item)


def build(folder: Path) -> Arrays:
    """[N, 28, 28, 1], in the published order and split."""
    splits = ((read_idx(folder / f"{split}-images-idx3-ubyte.gz", 28, 28)[..., None],
               read_idx(folder / f"{split}-labels-idx1-ubyte.gz").astype(np.int64)) for split in ("train", "t10k"))
    return Arrays(*(array for split in splits for array in split))


def _upstream() -> tuple[File, ...]:
    from torchvision.datasets import MNIST  # here: it takes seconds to import

    return tuple(File(name, tuple(mirror + name for mirror in MNIST.mirrors), md5) for name, md5 in MNIST.resources)


SOURCE = Source("MNIST", (28, 28, 1), tuple("0123456789"), "MNIST, LeCun et al. 1998", build, _upstream)
