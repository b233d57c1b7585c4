import contextlib
import hashlib
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

import datasets
from config import UserError
from datasets import fetch, files, h5, mnist
from datasets.source import File, Source
from tests import mirror

CONTENT = mirror.images(1, (300_000,), 7).tobytes()
RIGHT = fetch.Check("md5", hashlib.md5(CONTENT).hexdigest())
NAME = "x.bin"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server(tmp_path):
    root = tmp_path / "served"
    root.mkdir()
    (root / NAME).write_bytes(CONTENT)
    with mirror.serve(root) as server:
        yield server


def take(folder, *urls, check=RIGHT, timeout=5.0):
    places = [fetch.Place(str(url), timeout) for url in urls]
    with files.data_set(folder / "any"):
        return fetch.fetch(File(NAME, (), ""), places, folder, check)


def refused(*args, **options):
    with pytest.raises(UserError) as caught:
        take(*args, **options)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def test_a_file_comes_whole_and_is_not_asked_for_again(tmp_path, server):
    for _ in range(2):
        assert take(tmp_path / "raw", f"{server.url}/{NAME}").read_bytes() == CONTENT
    assert server.seen == [(f"/{NAME}", None)]
    assert [path.name for path in (tmp_path / "raw").iterdir()] == [NAME]


def test_a_file_with_other_content_is_fetched_anew(tmp_path, server):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / NAME).write_bytes(CONTENT[:-1])
    assert take(tmp_path / "raw", f"{server.url}/{NAME}").read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["drop", "reset", "hang"])
def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path, server, fault):
    server.faults, server.after = [fault], 200_000
    message = refused(tmp_path, f"{server.url}/{NAME}", timeout=2.0)
    assert NAME in message
    assert {"drop": "ended after 200000 of 300000", "reset": "reset", "hang": "timed out"}[fault] in message
    assert "Run the same command again" in message
    assert not (tmp_path / NAME).exists()
    kept = (tmp_path / f"{NAME}.part").stat().st_size
    assert 0 < kept <= 200_000
    assert take(tmp_path, f"{server.url}/{NAME}").read_bytes() == CONTENT
    assert server.seen == [(f"/{NAME}", None), (f"/{NAME}", f"bytes={kept}-")]
    assert not (tmp_path / f"{NAME}.part").exists()


@pytest.mark.parametrize("fault", ["no ranges", "other range"])
def test_a_server_that_cannot_go_on_is_asked_for_the_whole(tmp_path, server, fault):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    server.faults = [fault]
    assert take(tmp_path, f"{server.url}/{NAME}").read_bytes() == CONTENT
    assert server.seen[0] == (f"/{NAME}", "bytes=1000-")
    assert len(server.seen) == (1 if fault == "no ranges" else 2)


@pytest.mark.parametrize("earlier", [b"another version" * 10, CONTENT[:-1] + b"?", CONTENT + b"more"])
def test_the_start_of_another_version_is_thrown_away(tmp_path, server, earlier):
    (tmp_path / f"{NAME}.part").write_bytes(earlier)
    assert take(tmp_path, f"{server.url}/{NAME}").read_bytes() == CONTENT
    assert [given for _, given in server.seen] == [f"bytes={len(earlier)}-", None]


def test_a_whole_part_needs_no_server(tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert take(tmp_path, "http://127.0.0.1:1/x").read_bytes() == CONTENT


@pytest.mark.parametrize(("fault", "found"), [
    ("404", "404 Not Found"), ("corrupt", f"wrong md5 {'|'}, expected {RIGHT.hex}"), ("too short", "wrong md5"),
    ("too long", "ended after 300000 of 300100 bytes"), ("hang", "timed out"), ("redirect", "302")])
def test_faults_of_a_server(tmp_path, server, fault, found):
    server.faults = [fault]
    message = refused(tmp_path, f"{server.url}/{NAME}", timeout=0.5)
    before, _, after = found.partition("|")
    assert before in message
    assert after in message
    assert f"{server.url}/{NAME}" in message
    assert "Error" not in message
    assert message.replace("\n", "").isprintable()
    assert not (tmp_path / NAME).exists()
    if fault in ("corrupt", "too short"):
        assert not (tmp_path / f"{NAME}.part").exists()
    assert take(tmp_path, f"{server.url}/{NAME}").read_bytes() == CONTENT


def test_a_range_from_0_on_is_the_whole(tmp_path, server):
    server.faults = ["range"]
    assert take(tmp_path, f"{server.url}/{NAME}").read_bytes() == CONTENT


def test_a_body_without_length_is_checked_by_its_digest(tmp_path, server):
    server.faults = ["no length"]
    assert take(tmp_path, f"{server.url}/{NAME}").read_bytes() == CONTENT


def test_a_range_that_was_not_asked_for(tmp_path):
    with answering(b"HTTP/1.0 206 Partial\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\nabc") as url:
        assert "a range that was not asked for" in refused(tmp_path, url)


@contextlib.contextmanager
def answering(raw):
    """A server that answers a single request with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw)
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{NAME}"
        thread.join()


@pytest.mark.parametrize("raw", [b"", b"garbage\x1b[31m\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n",
                                 b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                                 b"HTTP/1.0 200 OK\r\nContent-Length: -5\r\n\r\nabc",
                                 b"HTTP/1.0 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"])
def test_a_server_that_does_not_speak_http(tmp_path, raw):
    with answering(raw) as url:
        message = refused(tmp_path, url)
    assert url in message
    assert "\x1b" not in message
    assert not (tmp_path / NAME).exists()


def test_a_redirection_leads_to_http_only(tmp_path):
    with answering(b"HTTP/1.0 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n") as url:
        assert "unknown url type: ftp" in refused(tmp_path, url)


def test_a_refused_connection_and_a_host_that_does_not_exist(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "Connection refused" in refused(tmp_path, f"http://127.0.0.1:{port}/x")
    assert "nowhere.invalid" in refused(tmp_path, "http://nowhere.invalid/x")


def test_the_addresses_are_tried_in_order(tmp_path, server):
    server.faults, server.after = ["404", "drop"], 1000
    assert take(tmp_path, *[f"{server.url}/{NAME}"] * 3).read_bytes() == CONTENT
    assert [given for _, given in server.seen] == [None, None, "bytes=1000-"]
    server.faults = ["404", "corrupt"]
    (tmp_path / NAME).unlink()
    message = refused(tmp_path, *[f"{server.url}/{NAME}"] * 2)
    assert "404" in message
    assert "wrong md5" in message


def test_a_folder_serves_as_well_and_resumes(tmp_path, server):
    (server.root / NAME).write_bytes(bytes(1000) + CONTENT[1000:])  # only going on gives the right content
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    assert take(tmp_path, server.root / NAME).read_bytes() == CONTENT
    (server.root / NAME).write_bytes(CONTENT)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / f"{NAME}.part").write_bytes(CONTENT + b"more")
    assert take(tmp_path / "c", server.root / NAME).read_bytes() == CONTENT
    assert "No such file" in refused(tmp_path / "a", server.root / "none")
    assert "Is a directory" in refused(tmp_path / "b", server.root)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "file:///etc/passwd", "data://x"])
def test_other_schemes_are_refused(tmp_path, url):
    assert "neither a folder nor an http or https address" in refused(tmp_path, url)


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "..", ""])
def test_a_file_name_cannot_leave_its_folder(tmp_path, server, name):
    with pytest.raises(UserError, match="file name"):
        fetch.fetch(File(name, (), ""), [fetch.Place(f"{server.url}/{NAME}", 5)], tmp_path / "raw", RIGHT)
    assert not server.seen
    assert not (tmp_path / "raw").exists()


def test_a_full_disk_can_be_gone_on_with(tmp_path, server):
    folder = tmp_path / "disk"
    folder.mkdir()
    with mirror.mounted(folder):
        message = refused(folder, f"{server.url}/{NAME}")
        assert "No space left on device" in message
        assert str(folder) in message
        assert not (folder / NAME).exists()
        kept = (folder / f"{NAME}.part").read_bytes()
        assert 0 < len(kept) < len(CONTENT)
        assert CONTENT.startswith(kept)


def test_a_folder_that_cannot_be_written(tmp_path, server):
    (tmp_path / "file").touch()
    message = refused(tmp_path / "file" / "raw", f"{server.url}/{NAME}")
    assert "Not a directory" in message
    assert "--data_dir" in message


# Whole data sets


def toy_source(root: Path) -> Source:
    """A data set like MNIST, with the digests of the files of `root`/toy as the upstream ones."""
    files = tuple(File(path.name, (), hashlib.md5(path.read_bytes()).hexdigest())
                  for path in sorted((root / "toy").iterdir()))
    return Source("Toy", (28, 28, 1), tuple("0123456789"), "made up", mnist.build, lambda: files)


@pytest.fixture
def toy(server):
    mirror.make_mnist(server.root / "toy")
    mirror.make_sums(server.root)
    return toy_source(server.root)


@pytest.mark.parametrize("kind", ["folder", "http"])
@pytest.mark.parametrize("trust", [False, True])
def test_a_data_set_from_a_mirror(tmp_path, server, toy, kind, trust):
    place = str(server.root) if kind == "folder" else server.url
    data, made = fetch.get(toy, tmp_path / "data", place, trust)
    assert made
    np.testing.assert_array_equal(data.arrays.train_image[..., 0], mirror.images(40, (28, 28), 0))
    assert ("mirror" in data.source) == trust
    assert [path.relative_to(tmp_path / "data").as_posix() for path in sorted((tmp_path / "data").rglob("*"))] == [
        "toy", "toy/data.h5"]
    server.seen.clear()
    again, made = fetch.get(toy, tmp_path / "data", place, trust)
    assert not made
    assert again.digest == data.digest
    assert not server.seen


def test_a_mirror_with_other_files_is_not_trusted_unless_told(tmp_path, server, toy):
    mirror.make_mnist(server.root / "toy", train=50)
    mirror.make_sums(server.root)
    with pytest.raises(UserError, match="wrong md5"):
        fetch.get(toy, tmp_path, server.url)
    assert not (tmp_path / "toy" / "data.h5").exists()
    assert len(fetch.get(toy, tmp_path, server.url, trust=True)[0].arrays.train_image) == 50


def test_a_trusted_mirror_must_keep_to_its_own_digests(tmp_path, server, toy):
    server.faults = ["", "corrupt"]
    with pytest.raises(UserError, match="wrong sha256"):
        fetch.get(toy, tmp_path, server.url, trust=True)


@pytest.mark.parametrize("sums", ["", "junk\n\0", "0123  toy/train-images-idx3-ubyte.gz\n",
                                  "{}  toy/../toy/train-images-idx3-ubyte.gz\n{}  ../../etc/passwd\n{}  /etc/passwd\n"])
def test_a_missing_entry_is_an_error_and_no_name_in_it_is_followed(tmp_path, server, toy, sums):
    (server.root / "SHA256SUMS").write_text(sums.replace("{}", "0" * 64))
    with pytest.raises(UserError, match=r"SHA256SUMS: no digest of toy/"):
        fetch.get(toy, tmp_path / "data", server.url, trust=True)
    assert server.seen == [("/SHA256SUMS", None)]


def test_a_mirror_without_digests(tmp_path, server, toy):
    (server.root / "SHA256SUMS").unlink()
    for place in (server.url, str(server.root)):
        with pytest.raises(UserError, match="--trust_mirror needs this file"):
            fetch.get(toy, tmp_path, place, trust=True)


def test_malformed_files_of_a_trusted_mirror_make_no_data_set(tmp_path, server, toy):
    (server.root / "toy" / "t10k-labels-idx1-ubyte.gz").write_bytes(mirror.idx(np.full(20, 77)))
    mirror.make_sums(server.root)
    with pytest.raises(UserError, match="test/label from 77"):
        fetch.get(toy, tmp_path, server.url, trust=True)
    assert not (tmp_path / "toy" / "data.h5").exists()


def test_two_processes_do_not_download_one_data_set(tmp_path, server, toy):
    (tmp_path / "toy").mkdir()
    with files.alone(tmp_path / "toy"), pytest.raises(UserError, match="toy: another process writes"):
        fetch.get(toy, tmp_path, server.url)
    assert not server.seen
    assert fetch.get(toy, tmp_path, server.url)[1]


def test_a_damaged_data_file_is_not_taken_for_whole_nor_replaced(tmp_path, server, toy):
    fetch.get(toy, tmp_path, server.url)
    target = datasets.path("Toy", tmp_path)
    target.write_bytes(target.read_bytes()[:-100])
    with pytest.raises(UserError, match="delete it"):
        fetch.get(toy, tmp_path, server.url)
    target.unlink()
    assert fetch.get(toy, tmp_path, server.url)[1]
    assert len(h5.read(target).arrays.train_image) == 40


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="the original MNIST files are not beside the repository")
def test_the_real_mnist_by_its_upstream_digests(tmp_path):
    data, _ = fetch.get(datasets.DATASETS["MNIST"], tmp_path, str(SHARED))
    assert data.source == "MNIST, LeCun et al. 1998"
    assert data.arrays.train_image.shape == (60_000, 28, 28, 1)
    assert data.arrays.test_image.shape == (10_000, 28, 28, 1)
    assert data.arrays.train_label[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.arrays.test_label[:5].tolist() == [7, 2, 1, 0, 4]
    assert round(float(data.arrays.train_image.mean() / 255), 4) == 0.1307
    assert datasets.load("mnist", tmp_path).digest == data.digest
