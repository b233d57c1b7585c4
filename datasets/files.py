"""Files that are written whole or not at all."""
import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from config import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file or a folder under. When the block ends it takes the place of `path`, of
    which a folder replaces a former one; after an error it is removed. OSError where `path` is not ours to replace."""
    check_plain(path)
    new = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield new
        if new.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(new, path)
    finally:
        if new.is_dir():
            shutil.rmtree(new)
        new.unlink(missing_ok=True)


def check_plain(path: Path) -> None:
    """OSError where a device or a pipe lies at `path`, which a file must not replace."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, "is a device or a pipe", str(path))


@contextlib.contextmanager
def data_set(path: Path) -> Iterator[None]:
    """Inside, the folder of `path` is there, made if need be, and no other process writes the data set in it; at the
    end it goes, and so do those above it that were made, if nothing lies in them. UserError where another process
    writes there, or where the disk does not take what is written."""
    try:
        ours = [path.parent, *(folder for folder in path.parent.parents if not folder.exists())]
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(path.parent):
            for left in path.parent.glob(f"{path.name}.*.tmp"):  # by a process that was killed
                left.unlink()
            try:
                yield
            finally:
                for folder in ours:
                    with contextlib.suppress(OSError):  # not empty
                        folder.rmdir()
    except OSError as error:
        raise UserError(f"{path.parent}: {error.strerror or error}; free some space or choose another --data_dir") \
            from None


def hold(file: TextIO | int, busy: str) -> None:
    """Keep other processes from holding the file that is open here until it is closed. UserError with that message
    where one holds it; nothing on a file system without locks."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(busy) from None
    except OSError:
        pass


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process writes the data set of that folder; UserError where one does."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # not there, of which what is done inside tells; Windows opens no folder
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            hold(descriptor, f"{folder}: another process writes this data set; wait for its end, then ask again")
        yield


def store(path: Path, content: bytes | Mapping[str, bytes]) -> Path:
    """Write a file, or a folder of files by name, `whole`, into a folder that is made if need be; returns the path.
    UserError where the disk does not take it."""
    try:
        path.parent.mkdir(exist_ok=True)
        with whole(path) as new:
            if isinstance(content, bytes):
                new.write_bytes(content)
            else:
                new.mkdir()
                for name, part in content.items():
                    (new / name).write_bytes(part)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); where the run is not yours, copy its model "
                        "file to a folder of your own") from None
    return path
