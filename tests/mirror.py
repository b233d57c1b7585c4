"""Small data sets in their upstream formats, a mirror laid out with them, and a web server that can go wrong."""
import contextlib
import gzip
import hashlib
import http.server
import io
import socket
import struct
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io

CIFAR10_MEMBERS = (*(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
                   "cifar-10-batches-bin/test_batch.bin")


def images(count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def labels(count: int) -> np.ndarray:
    return np.arange(count) % 10


def idx(array: np.ndarray) -> bytes:
    array = np.asarray(array, np.uint8)
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def make_mnist(folder: Path, train: int = 40, test: int = 20) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, seed in (("train", train, 0), ("t10k", test, 1)):
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(idx(images(count, (28, 28), seed)))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(idx(labels(count)))


def make_svhn(folder: Path, train: int = 30, test: int = 20, ten: int = 10) -> None:
    """`ten` is the label that the file gives to the digit 0 (10 in the published files)."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count, seed in (("train", train, 2), ("test", test, 3)):
        label = np.where(labels(count) == 0, ten, labels(count)).astype(np.uint8)[:, None]
        scipy.io.savemat(folder / f"{split}_32x32.mat", do_compression=True,
                         mdict={"X": images(count, (32, 32, 3), seed).transpose(1, 2, 3, 0), "y": label})


def cifar10_record(label: int, image: np.ndarray) -> bytes:
    """Byte by byte as the CIFAR page says: the label, then all red values row by row, all green, all blue."""
    return bytes([label]) + bytes(int(image[row, column, colour])
                                  for colour in range(3) for row in range(32) for column in range(32))


def tar_gz(members: list[tuple[tarfile.TarInfo | str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def make_cifar10(folder: Path, each: int = 10) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    batches = [b"".join(map(cifar10_record, labels(each), images(each, (32, 32, 3), seed))) for seed in range(6)]
    (folder / "cifar-10-binary.tar.gz").write_bytes(tar_gz(list(zip(CIFAR10_MEMBERS, batches, strict=True))))


def make_sums(mirror: Path) -> None:
    files = sorted(path for path in mirror.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    (mirror / "SHA256SUMS").write_text("".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(mirror).as_posix()}\n" for path in files))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the folder `server.root`; takes one fault off `server.faults` for each request."""

    def do_GET(self) -> None:
        server = self.server
        server.seen.append((self.path, self.headers.get("Range")))
        fault = server.faults.pop(0) if server.faults else ""
        path = server.root / self.path.lstrip("/")
        if fault == "404" or not path.is_file():
            return self.send_error(404, "Not\x1b[31m here")
        if fault == "redirect":
            self.send_response(302)
            self.send_header("Location", path.as_uri())
            return self.end_headers()
        content = path.read_bytes()
        if fault == "corrupt":
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = int((self.headers.get("Range") or "bytes=0-")[len("bytes="):-1])
        if fault == "no ranges":
            start = 0
        if start and start >= len(content):
            return self.send_error(416)
        lie = {"too long": 100, "too short": -10}.get(fault, 0)
        self.send_response(206 if start or fault == "range" else 200)
        if start or fault == "range":
            first = start - 5 if fault == "other range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if fault != "no length":
            self.send_header("Content-Length", str(len(content) - start + lie))
        self.end_headers()
        body = content[start:]
        half = body[:server.after]
        self.wfile.write(half if fault in ("drop", "reset", "hang") else body)
        self.wfile.flush()
        if fault == "hang":
            server.halted.set()
            server.release.wait(20)
        if fault == "reset":  # linger 0: the kernel answers with RST, not FIN
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: list[tuple[str, str | None]] = []  # path and Range header of each request
        self.faults: list[str] = []
        self.after = 1000  # bytes of the body before a fault that comes in mid-body
        self.halted, self.release = threading.Event(), threading.Event()

    def handle_error(self, *_: object) -> None:
        pass  # clients that give up are the point of many tests


@contextlib.contextmanager
def serve(root: Path) -> Iterator[Server]:
    with Server(root) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.release.set()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def mounted(folder: Path, size: str = "256k") -> Iterator[Path]:
    """A disk of that size, mounted on `folder`; the test is skipped where that is not allowed."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True,
                          text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
