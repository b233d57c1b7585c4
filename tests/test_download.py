"""The script itself, in a process of its own."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import datasets
from tests import mirror

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, str(ROOT / "download.py")]
ENVIRONMENT = {**os.environ, "no_proxy": "127.0.0.1"}
ARCHIVE = "/cifar10/cifar-10-binary.tar.gz"


@pytest.fixture
def server(tmp_path):
    root = tmp_path / "served"
    for name, make in (("mnist", mirror.make_mnist), ("fashion", mirror.make_mnist), ("svhn", mirror.make_svhn),
                       ("cifar10", mirror.make_cifar10)):
        make(root / name)
    mirror.make_sums(root)
    with mirror.serve(root) as server:
        yield server


def download(cwd, *flags):
    done = subprocess.run([*COMMAND, *flags], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done


def errors(done):
    """Standard error without the progress bars."""
    return [line for line in done.stderr.splitlines() if line and "B/s]" not in line]


def test_all_data_sets_from_a_mirror_and_once_more(tmp_path, server):
    flags = ("--all", "--mirror", f"{server.url}/", "--trust-mirror")
    done = download(tmp_path, *flags)
    assert (done.returncode, errors(done)) == (0, [])
    for name, train, test in (("MNIST", 40, 20), ("Fashion", 40, 20), ("SVHN", 30, 20), ("CIFAR10", 50, 10)):
        assert f"{name}: datasets/{name.lower()}/data.h5 is made: {train} train and {test} test images" in done.stdout
        assert len(datasets.load(name, tmp_path / "datasets").arrays.test_image) == test
    assert "B/s]" in done.stderr  # a bar with rate and time left
    assert "00:00<" in done.stderr
    assert sorted(path.name for path in (tmp_path / "datasets").rglob("*") if path.is_file()) == ["data.h5"] * 4
    server.seen.clear()
    done = download(tmp_path, *flags)
    assert done.returncode == 0
    assert done.stdout.count("is already there") == 4
    assert server.seen == []


def test_others_still_finish_when_some_fail(tmp_path, server):
    (server.root / "svhn" / "test_32x32.mat").unlink()
    (server.root / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"wrong")
    done = download(tmp_path, "--dataset", "svhn", "mnist", "Cifar10", "cifar10", "digits", "--trust_mirror",
                    "--mirror", str(server.root), "--data_dir", str(tmp_path / "here"))
    assert done.returncode == 2
    assert "CIFAR10: " in done.stdout
    assert done.stdout.count("is made") == 1
    assert "Digits: embedded" in done.stdout
    lines = errors(done)
    assert len(lines) == 4
    assert lines[0].startswith("download.py: error: SVHN: test_32x32.mat: ")
    assert lines[2].startswith("download.py: error: MNIST: t10k-labels-idx1-ubyte.gz: ")
    assert datasets.path("CIFAR10", tmp_path / "here").is_file()
    assert not datasets.path("MNIST", tmp_path / "here").exists()


@pytest.mark.parametrize(("flags", "found"), [
    ((), "no data set is named"), (("--dataset",), "dataset"), (("--dataset", "MNSIT"), "did you mean MNIST"),
    (("--dataset", "../mnist"), "--dataset: '../mnist' is not a name"), (("--datasets", "MNIST"), "you mean --dataset"),
    (("--all", "--trust_mirror"), "--mirror"), (("--all", "--timeout", "0"), "--timeout"),
    (("--all", "--timeout", "inf"), "--timeout"), (("--from_folder", "", "--dataset", "mine"), "--from_folder: name"),
    (("--dataset", "CIFAR10", "--mirror", "http://[::1"), "neither a folder nor an http or https address"),
    (("--dataset", "CIFAR10", "--mirror", "ftp://127.0.0.1"), "neither a folder nor an http or https address"),
    (("--dataset", "CIFAR10", "--mirror", "127.0.0.1:8766"), "write http:// or https:// before an address"),
    (("--dataset", "CIFAR10", "--mirror", "/"), "No such file or directory")])
def test_bad_commands(tmp_path, flags, found):
    done = download(tmp_path, *flags)
    assert done.returncode == 2
    assert found in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_rebuilt_files_are_refused_without_trust(tmp_path, server):
    done = download(tmp_path, "--dataset", "CIFAR10", "--mirror", server.url)
    assert done.returncode == 2
    assert "expected c32a1d4ab5d03f1284b67883e8d87530" in done.stderr
    assert not (tmp_path / "datasets").exists()
    (tmp_path / "datasets/cifar10/raw").mkdir(parents=True)
    (tmp_path / "datasets/cifar10/raw/cifar-10-binary.tar.gz.part").write_bytes(b"of another time")
    done = download(tmp_path, "--dataset", "CIFAR10", "--mirror", server.url)
    assert done.returncode == 2
    assert list((tmp_path / "datasets").iterdir()) == []  # a folder that was there


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_leaves_nothing_half_written(number, tmp_path):
    write = ("import os, signal, sys\nfrom config import guarded\nfrom datasets import files\n"
             "def main(argv):\n    with files.whole(files.Path('a')) as new:\n        new.write_text('half')\n"
             "        os.kill(os.getpid(), int(argv[0]))\nguarded(main)\n")
    done = subprocess.run([sys.executable, "-c", write, str(int(number))], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=30, check=False,
                          preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # nohup has it ignored
    assert (done.returncode, done.stderr) == (130, "-c: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_a_part_that_is_gone_on_with(tmp_path, server):
    server.faults, server.after = ["", "hang"], 100_000
    flags = ("--dataset", "CIFAR10", "--mirror", server.url, "--trust-mirror")
    # A test run in the background of a shell ignores SIGINT, and so would its children.
    with subprocess.Popen([*COMMAND, *flags], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as process:
        assert server.halted.wait(30)
        part = tmp_path / "datasets" / "cifar10" / "raw" / "cifar-10-binary.tar.gz.part"
        while not part.exists() or not part.stat().st_size:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.splitlines()[-1] .endswith("interrupted")
    assert "Traceback" not in stderr
    kept = part.stat().st_size
    assert 0 < kept <= 100_000
    server.seen.clear()
    assert download(tmp_path, *flags).returncode == 0
    assert server.seen == [("/SHA256SUMS", None), (ARCHIVE, f"bytes={kept}-")]
    assert len(datasets.load("CIFAR10", tmp_path / "datasets").arrays.train_image) == 50


def test_a_full_disk_ends_in_a_message(tmp_path, server):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mirror.mounted(disk):
        done = download(tmp_path, "--dataset", "CIFAR10", "--mirror", server.url, "--trust-mirror", "--data_dir",
                        str(disk))
        assert done.returncode == 2
        assert "No space left on device" in done.stderr
        assert not list(disk.rglob("data.h5*"))


def test_a_folder_that_cannot_be_written_ends_in_a_message(tmp_path, server):
    done = download(tmp_path, "--dataset", "CIFAR10", "--mirror", server.url, "--data_dir", "served/SHA256SUMS")
    assert done.returncode == 2
    assert "served/SHA256SUMS/cifar10: " in done.stderr
    assert "Not a directory" in done.stderr


def test_help_names_the_sets():
    done = download(ROOT, "--help")
    assert done.returncode == 0
    for text in ("MNIST", "CIFAR10", "--mirror", "--trust", "--all"):
        assert text in done.stdout
