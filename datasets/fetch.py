"""Upstream files to data.h5: download (resumable), check of digests, build. A file is whole or it does not count.

Raw files lie in data_dir/<name>/raw while they are needed; an unfinished one ends in .part.
"""
import contextlib
import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

import datasets
from config import UserError
from datasets import files, h5
from datasets.source import File, Source

CHUNK = 1 << 16
MOST_SUMS = 1 << 20  # bytes of a SHA256SUMS that are read
AGENT = {"User-Agent": "Mozilla/5.0 (download.py)", "Accept-Encoding": "identity"}  # some hosts refuse urllib's name
AGAIN = "Run the same command again (what is here already is kept); if it fails alike, name another --mirror."
BROKEN = (OSError, http.client.HTTPException, ValueError)  # what urllib raises: refused, timed out, no such host, ...


class Check(NamedTuple):
    """The digest that a file must have."""

    algorithm: str
    hex: str


class Place(NamedTuple):
    """A place to take files from: an http(s) address or a folder, and the timeout of a read in seconds."""

    address: str
    timeout: float


class Unavailable(Exception):
    """One address did not give the whole file; the message says why."""


def get(source: Source, data_dir: Path, mirror: str = "", trust: bool = False,
        timeout: float = 30.0) -> tuple[h5.Data, bool]:
    """Make data.h5 of a data set unless it is there. Returns its content and whether it was made now.

    `mirror` (folder or http(s) address) replaces the upstream addresses; with `trust` its SHA256SUMS replaces the
    upstream digests. UserError if the data set cannot be had or the file that is there is not sound.
    """
    target = datasets.path(source.name, data_dir)
    raw = target.parent / "raw"
    made = not os.path.exists(target)  # unlike Path.exists, it takes a folder that cannot be entered
    if made:
        with files.data_set(target), files.data_set(raw / "any"):
            _fetch_all(source, raw, mirror, trust, timeout)
            origin = f"{source.origin}{' (by the digests of a mirror, not those of upstream)' if trust else ''}"
            h5.write(target, source.build(raw), source.name, source.class_names, origin)
    data = datasets.load(source.name, data_dir)
    shutil.rmtree(raw, ignore_errors=True)
    return data, made


def _fetch_all(source: Source, raw: Path, mirror: str, trust: bool, timeout: float) -> None:
    checks = _sums(Place(f"{mirror}/SHA256SUMS", timeout)) if trust else {}
    for file in source.files:
        key = f"{source.name.lower()}/{file.name}"
        if trust and key not in checks:
            raise UserError(f"{mirror}/SHA256SUMS: no digest of {key}; add it, or do without --trust_mirror")
        places = [Place(url, timeout) for url in ([f"{mirror}/{key}"] if mirror else file.urls)]
        fetch(file, places, raw, checks[key] if trust else Check("md5", file.md5))


def fetch(file: File, places: Sequence[Place], folder: Path, check: Check) -> Path:
    """folder/<file name>, whole and with the right digest, from the first place that gives it.

    Goes on with the .part file that an earlier call left. UserError if no place gives the file.
    """
    if not re.fullmatch(h5.NAME, file.name):
        raise UserError(f"{file.name!r} is not a file name of letters, digits, '_', '.' and '-'")
    whole, part = folder / file.name, folder / f"{file.name}.part"
    found = []
    if whole.exists() and _digest(whole, check) == check.hex:
        return whole
    for place in places:
        try:
            _complete(place, part, check)
            return part.replace(whole)
        except Unavailable as error:
            found.append(f"{place.address}: {error}")
    raise UserError(f"{file.name}: {'; '.join(found)}.\n{AGAIN}")


def _complete(place: Place, part: Path, check: Check) -> None:
    """Bring `part` to its full length and check it; Unavailable if this place does not allow that."""
    if part.exists() and _digest(part, check) == check.hex:
        return
    resumed = _receive(place, part)
    found = _digest(part, check)
    if found == check.hex:
        return
    part.unlink()
    if resumed:  # the earlier bytes may be those of another version of the file: once more from the start
        return _complete(place, part, check)
    raise Unavailable(f"wrong {check.algorithm} {found}, expected {check.hex}, so the copy was thrown away "
                      "(for a mirror of files that you made yourself: --trust_mirror)")


def _receive(place: Place, part: Path) -> bool:
    """Append to `part` what is missing of it. Returns whether earlier bytes were kept."""
    before = part.stat().st_size if part.exists() else 0
    with contextlib.closing(_Reply(place, before)) as reply, part.open("ab" if reply.start else "wb") as out, \
                tqdm(total=reply.total, initial=reply.start, unit="B", unit_scale=True, desc=part.stem) as bar:
        for chunk in reply.chunks():
            out.write(chunk)
            bar.update(len(chunk))
    return reply.start > 0


class _Reply:
    """The bytes of a place from `start` on: the offset asked for, or 0 if the server does not know ranges."""

    start: int
    total: int | None  # length of the whole file, if known

    def __init__(self, place: Place, start: int):
        self.body, self.start, self.total = (_ask if _is_url(place.address) else _open)(place, start)

    def chunks(self) -> Iterator[bytes]:
        at = self.start
        while self.total is None or at < self.total:
            try:
                chunk = self.body.read1(CHUNK)
            except BROKEN as error:
                raise Unavailable(f"{_reason(error)} after {at} of {self.total or '?'} bytes") from None
            if not chunk:
                break
            at += len(chunk)
            yield chunk
        if self.total is not None and at < self.total:
            raise Unavailable(f"the connection ended after {at} of {self.total} bytes")

    def close(self) -> None:
        self.body.close()


def _ask(place: Place, start: int) -> tuple[BinaryIO, int, int | None]:
    headers = {**AGENT, "Range": f"bytes={start}-"} if start else AGENT
    try:
        reply = _opener().open(urllib.request.Request(place.address, headers=headers), timeout=place.timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # the file there is not longer than what we have of it
            return _ask(place, 0)
        raise Unavailable(f"{error.code} {http.client.responses.get(error.code, '')}") from None
    except BROKEN as error:
        raise Unavailable(_reason(error)) from None
    if reply.status == 206 and not reply.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        reply.close()
        if start:
            return _ask(place, 0)
        raise Unavailable("the server sent a range that was not asked for")
    start = start if reply.status == 206 else 0
    return reply, start, None if reply.length is None else start + reply.length


def _open(place: Place, start: int) -> tuple[BinaryIO, int, int]:
    try:
        file = open(place.address, "rb")  # noqa: SIM115 (the caller closes it)
        total = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise Unavailable(_reason(error)) from None
    file.seek(start)
    return file, start, total


def _opener() -> urllib.request.OpenerDirector:
    """Urllib's, but for http(s) only, also after a redirection."""
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
                    urllib.request.HTTPRedirectHandler, urllib.request.HTTPErrorProcessor,
                    urllib.request.HTTPDefaultErrorHandler, urllib.request.UnknownHandler):
        opener.add_handler(handler())
    return opener


def _sums(place: Place) -> dict[str, Check]:
    """The digests that a mirror lists, by path below the mirror. The paths only serve to look digests up."""
    try:
        with contextlib.closing(_Reply(place, 0)) as reply:
            text, chunks = b"", reply.chunks()
            while len(text) < MOST_SUMS and (chunk := next(chunks, b"")):
                text += chunk
    except Unavailable as error:
        raise UserError(f"{place.address}: {error}. --trust_mirror needs this file; make it with sha256sum.") from None
    lines = (re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line)
             for line in text.decode(errors="replace").splitlines())
    return {line[2]: Check("sha256", line[1].lower()) for line in lines if line}


def _digest(path: Path, check: Check) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(check.algorithm, usedforsecurity=False)).hexdigest()


def _is_url(address: str) -> bool:
    if re.match(r"[\w.-]+:\d+(/|$)", address):
        raise UserError(f"{address}: write http:// or https:// before an address")
    if "://" not in address:
        return False
    with contextlib.suppress(ValueError):  # of an address with half a bracket
        if urllib.parse.urlsplit(address).scheme in ("http", "https"):
            return True
    raise UserError(f"{address}: neither a folder nor an http or https address")


def _reason(error: Exception) -> str:
    """Urllib hides the cause of a failed connection one level down."""
    cause = getattr(error, "reason", error)
    return "timed out" if isinstance(cause, TimeoutError) else getattr(cause, "strerror", None) or f"{cause!r}"
