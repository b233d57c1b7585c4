"""Where a data set comes from. Imports nothing heavy, so that the registry is cheap to read."""
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from config import Spec
from datasets.h5 import Arrays


class File(NamedTuple):
    """One upstream file: its name, its addresses in the order to try them, its published md5."""

    name: str
    urls: tuple[str, ...]
    md5: str


class Source(NamedTuple):
    """A data set of the registry."""

    name: str
    shape: tuple[int, int, int]  # height, width, channels
    class_names: tuple[str, ...]
    origin: str  # who made it and where it is described
    build: Callable[[Path], Arrays]  # folder of the raw files -> arrays; UserError if a file is malformed
    upstream: Callable[[], tuple[File, ...]] | None  # asked only to download: torchvision takes seconds to import

    @property
    def embedded(self) -> bool:
        """True if the data come with a library, without any file or download."""
        return self.upstream is None

    @property
    def files(self) -> tuple[File, ...]:
        """The upstream files; empty if embedded."""
        return () if self.upstream is None else self.upstream()

    @property
    def spec(self) -> Spec:
        return Spec(self.name, self.shape, len(self.class_names))
