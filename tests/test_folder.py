"""From a folder of pictures to data.h5, by the script and by its function."""
import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
import trainer
from config import UserError
from datasets import files, folder, h5
from engine import command
from engine import run as engine_run
from tests.mirror import mounted
from tests.test_download import COMMAND, ENVIRONMENT, download, errors

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CLASSES = {"cat": (200, 120, 40), "dog": (40, 90, 180)}


def picture(path, name, number, size=(20, 24)):
    """A picture of its class: its colour under noise of its own."""
    rng = np.random.RandomState(number)
    pixels = np.array(CLASSES[name]) + rng.randint(-30, 30, (*size, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path):
    """20 pictures of each of two classes."""
    for number in range(40):
        name = "cat" if number < 20 else "dog"
        picture(tmp_path / "pictures" / name / f"{number}.png", name, number)
    return tmp_path / "pictures"


def made(pictures, target, **options):
    with files.data_set(target / "data.h5"):
        return folder.make(target / "data.h5", "PETS", folder.Options(str(pictures), size="8", **options))


def test_the_script_makes_a_data_set_that_is_trained_on(tmp_path, pictures, monkeypatch, capsys):
    done = download(tmp_path, "--from_folder", "pictures", "--dataset", "PETS", "--size", "16x24")
    assert done.returncode == 0
    assert "PETS: datasets/pets/data.h5 is made: 32 train (0 of them unlabelled) and 8 test images of 16 x 24 x 3, " \
        "2 classes (cat, dog); pictures of the folder pictures, crop to 16 x 24; 0.2 of each class held out as " \
        "test" in done.stdout
    assert "seed 1" in done.stdout
    assert "picture/s]" in done.stderr  # a bar with rate and time left
    assert "00:0" in done.stderr
    data = datasets.load("pets", tmp_path / "datasets")
    assert np.bincount(data.arrays.test_label).tolist() == [4, 4]
    for images, labels in ((data.arrays.train_image, data.arrays.train_label),
                           (data.arrays.test_image, data.arrays.test_label)):
        means = images.mean((1, 2))
        assert np.abs(means - np.array(list(CLASSES.values()))[labels]).max() < 10  # rows and labels belong together
    assert f"{data.source}" in done.stdout
    again = download(tmp_path, "--from_folder", "pictures", "--dataset", "pets")
    assert (again.returncode, len(again.stderr.splitlines())) == (2, 1)
    assert "is already there; delete it" in again.stderr
    monkeypatch.chdir(tmp_path)
    assert trainer.main(["--dataset", "PETS", "--steps", "2", "--batch_size", "8"]) == 0
    assert "of 8 wrong" in capsys.readouterr().out


def test_the_same_folder_gives_the_same_file(tmp_path, pictures):
    one, two, other = (made(pictures, tmp_path / str(i), seed=seed) for i, seed in enumerate((1, 1, 2)))
    assert one.digest == two.digest != other.digest
    assert h5.read(tmp_path / "0" / "data.h5").digest == one.digest
    assert made(pictures, tmp_path / "3", grey=True).spec.shape == (8, 8, 1)


def damage(pictures):
    """Files that cannot be used, with the reason that is told of each."""
    (pictures / "cat" / "empty.jpg").touch()
    (pictures / "cat" / "notes\x1b.txt").write_text("no picture")
    (pictures / "dog" / "cut.png").write_bytes((pictures / "dog" / "30.png").read_bytes()[:300])
    (pictures / "dog" / "link.png").symlink_to("/etc/passwd")
    test = pictures / "test" / "cat" / "1.bmp"
    picture(test, "cat", 99)
    picture(pictures / "test" / "dog" / "1.png", "dog", 98)
    picture(pictures / "cat" / "same.png", "cat", 99)  # the pixels of the test picture in another kind of file
    (pictures / "dog" / "wrong.png").write_bytes((pictures / "cat" / "same.png").read_bytes())
    (pictures / "dog" / "twice.png").write_bytes((pictures / "cat" / "3.png").read_bytes())
    return ["cat/empty.jpg: an empty file", r"cat/notes\x1b.txt: no JPEG, PNG, WebP, BMP, GIF or TIFF picture",
            "cat/same.png: the same picture as the test picture test/cat/1.bmp", "dog/cut.png: cannot be read",
            "dog/link.png: a link that leaves the folder",
            "dog/wrong.png: the same picture as the test picture test/cat/1.bmp, but of class dog, not cat"]


def test_what_cannot_be_used_is_told_in_one_list(tmp_path, pictures):
    expected = damage(pictures)
    flags = ("--from_folder", "pictures", "--dataset", "pets")
    done = download(tmp_path, *flags, "--strict")
    lines = [line for line in errors(done) if "picture/s]" not in line]
    assert done.returncode == 2
    assert lines[0] == "pictures: 7 files are left out or doubtful:"
    assert lines[-1].startswith("download.py: error: --strict: 7 files are unusable or doubtful in pictures")
    told = [line.strip() for line in lines[1:-1]]
    assert [any(line.startswith(reason) for line in told) for reason in expected] == [True] * 6
    contradiction = next(line for line in told if "both are kept" in line)
    assert "cat/3.png" in contradiction
    assert "dog/twice.png" in contradiction
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]
    done = download(tmp_path, *flags)
    assert done.returncode == 0
    assert [line for line in errors(done) if "picture/s]" not in line] == lines[:-1]
    arrays = datasets.load("pets", tmp_path / "datasets").arrays
    assert (len(arrays.train_image), len(arrays.test_image)) == (41, 2)
    kept = {image.tobytes() for image in arrays.train_image}
    assert not kept & {image.tobytes() for image in arrays.test_image}


@pytest.mark.parametrize("seed", range(1, 6))  # which decides the order
def test_two_labels_of_a_picture_are_told_whatever_else_is_the_same(tmp_path, pictures, seed, capsys):
    for copy in ("dog/same.png", "unlabelled/same.png"):
        (pictures / copy).parent.mkdir(exist_ok=True)
        (pictures / copy).write_bytes((pictures / "cat" / "3.png").read_bytes())
    (pictures / "test" / "dog").mkdir(parents=True)
    picture(pictures / "test" / "dog" / "1.png", "dog", 98)
    made(pictures, tmp_path / "data" / "pets", seed=seed)
    assert "(both are kept)" in capsys.readouterr().err


def test_pictures_that_are_all_dark_are_refused(tmp_path, pictures):
    for file in pictures.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(file).convert("L")).astype(np.uint16) * 16).save(file)  # 12 bits of 16
    with pytest.raises(UserError, match=r"no value of any picture is above \d+, but white is 255"):
        made(pictures, tmp_path / "data" / "pets")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize(("flags", "found"), [
    (("--dataset", "mnist"), "none of Digits"), ((), "found no name"), (("--dataset", "a", "b"), "found a b"),
    (("--dataset", "../up"), "is not a name"), (("--dataset", "a", "--size", "0"), "--size 0: write 64"),
    (("--dataset", "a", "--size", "64x"), "--size 64x"), (("--dataset", "a", "--size", "9x9x9"), "--size 9x9x9"),
    (("--dataset", "a", "--size", "1025"), "1 to 1024 pixels"), (("--dataset", "a", "--resize", "cut"), "resize"),
    (("--dataset", "a", "--test_share", "1"), "--test_share 1"), (("--dataset", "a", "--mirror", "x"), "--mirror: not"),
    (("--dataset", "a", "--test_share", "nan"), "--test_share nan"), (("--dataset", "a", "--all"), "--all: not used"),
    (("--dataset", "a", "--labels", "no.csv"), "--labels no.csv: no such file")])
def test_bad_commands(tmp_path, pictures, flags, found):
    done = download(tmp_path, "--from_folder", "pictures", *flags)
    assert done.returncode == 2
    assert found in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize("flag", [("--size", "64"), ("--no_grey",), ("--strict",)])
def test_flags_of_a_folder_need_one(tmp_path, flag):
    done = download(tmp_path, "--dataset", "MNIST", *flag)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "only used with --from_folder" in done.stderr


def test_too_little_that_can_be_used(tmp_path, pictures):
    for file in (pictures / "cat").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match="no training picture of class cat can be used"):
        made(pictures, tmp_path / "data" / "pets")
    (pictures / "test" / "dog").mkdir(parents=True)
    (pictures / "test" / "dog" / "1.png").touch()
    (pictures / "cat" / "1.png").write_bytes((pictures / "dog" / "30.png").read_bytes())
    with pytest.raises(UserError, match="no test picture can be used"):
        made(pictures, tmp_path / "data" / "pets")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def group(leader):
    """How many processes live in the group of that one."""
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            count += int(pgrp) == leader and state != "Z"
    return count


@contextlib.contextmanager
def decoding(tmp_path, pictures):
    """The script with more than half a minute of work before it, when its decoding processes are there."""
    large = np.random.RandomState(0).randint(0, 256, (1500, 1500, 3)).astype(np.uint8)
    for name in CLASSES:
        Image.fromarray(large).save(pictures / name / "large.png")
        for number in range(300):
            os.link(pictures / name / "large.png", pictures / name / f"large{number}.png")
    command = [*COMMAND, "--from_folder", "pictures", "--dataset", "pets"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
                          start_new_session=True, preexec_fn=lambda: signal.signal(
                              signal.SIGINT, signal.default_int_handler)) as process:
        while group(process.pid) < 3:  # itself, Python's tracker of resources, and a first one
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(1)
        assert process.poll() is None
        yield process


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are counted in /proc")
def test_an_interrupt_leaves_nothing(tmp_path, pictures):
    with decoding(tmp_path, pictures) as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the decoding processes too
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.splitlines()[-1].endswith("interrupted")
    assert "Traceback" not in stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are counted in /proc")
def test_a_kill_leaves_no_process_and_no_file(tmp_path, pictures):
    with decoding(tmp_path, pictures) as process:
        process.kill()
        deadline = time.monotonic() + 20
        while group(process.pid):
            assert time.monotonic() < deadline, "a decoding process outlived the command"
            time.sleep(0.05)
    assert [path for path in (tmp_path / "datasets").rglob("*") if path.is_file()] == []


def test_a_table_to_fill_in_names_the_pictures(tmp_path, pictures):
    for number in range(10):
        picture(pictures / "unlabelled" / f"{number}, new.png", "cat", 100 + number)
    for words in (["--from_folder", "pictures", "--size", "20x24"], ["--suggest", "3"]):
        assert download(tmp_path, *words, "--dataset", "PETS").returncode == 0
    images = datasets.load("pets", tmp_path / "datasets").arrays.train_image
    with (tmp_path / "datasets" / "pets" / "suggest.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3
    for line in lines:
        np.testing.assert_array_equal(images[int(line["row"])], np.asarray(Image.open(pictures / line["file"])))


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path, pictures):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "pets").write_text("")
    done = download(tmp_path, "--from_folder", "pictures", "--dataset", "PETS", "--size", "8")
    assert done.returncode == 2
    assert errors(done)[-1] == ("download.py: error: datasets/pets: File exists; free some space or choose another "
                                "--data_dir")


@pytest.mark.parametrize("size", ["40", "64"])
def test_a_full_disk_leaves_nothing(tmp_path, pictures, size):
    """Of 256 kB: 40 pictures of 40 x 40 fit once, not a second time as data.h5; of 64 x 64 not once."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk):
        done = download(tmp_path, "--from_folder", "pictures", "--dataset", "pets", "--size", size,
                        "--data_dir", "disk")
        assert done.returncode == 2
        assert "No space left on device" in done.stderr
        assert list(disk.iterdir()) == []


def ended(_paths, _look):
    os._exit(1)


def test_a_process_that_dies_is_told(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(folder.photo, "decode_all", ended)
    with pytest.raises(UserError, match="ended from outside"):
        made(pictures, tmp_path / "pets")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_set(tmp_path):
    """400 MB of images pass through less than 100 MB."""
    code = f"""
import re, numpy as np
from pathlib import Path
from datasets import h5
def used(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
with open(r"{tmp_path}/rows", "wb+") as file:
    file.truncate(400 << 20)
    rows = np.memmap(file, np.uint8, "r", shape=(100 << 10, 64, 64, 1))
    labels = np.zeros(len(rows), np.int64)
    before = used()
    h5.write(Path(r"{tmp_path}/data.h5"), h5.Arrays(rows[9:], labels[9:], rows[:9], labels[:9]), "big", ("a",), "")
    print(used() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=COMMAND[1].rpartition("/")[0], capture_output=True,
                          text=True, check=True)
    assert int(done.stdout) < 100_000
    assert h5.read(tmp_path / "data.h5").arrays.train_image.shape == ((100 << 10) - 9, 64, 64, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError("no space")])
def test_a_list_of_files_is_there_before_the_data_and_goes_with_them(error, tmp_path, pictures, monkeypatch):
    """Or an interrupt would leave that of another data set, which was deleted, beside the new one."""
    def stopped(target, *_):
        assert target.with_name("files.csv").exists()
        raise error

    monkeypatch.setattr(h5, "write", stopped)
    with pytest.raises((KeyboardInterrupt, UserError)):
        made(pictures, tmp_path / "pets")
    assert not (tmp_path / "pets").exists()


def test_what_a_kill_left_of_a_data_set_goes(tmp_path, pictures):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "data.h5.123.tmp").write_bytes(b"half")
    made(pictures, tmp_path / "pets")
    assert sorted(path.name for path in (tmp_path / "pets").iterdir()) == ["data.h5", "files.csv"]


@pytest.mark.skipif(not (SHARED / "cats-dogs").is_dir(), reason="the photographs are not beside the repository")
def test_the_real_photographs(tmp_path):
    target = tmp_path / "pets" / "data.h5"
    with files.data_set(target):
        data = folder.make(target, "PETS", folder.Options(str(SHARED / "cats-dogs"), size="32x48"))
    assert data.spec == ("PETS", (32, 48, 3), 2)
    assert data.class_names == ("cat", "dog")
    assert np.bincount(data.arrays.train_label).tolist() == [240, 240]
    assert np.bincount(data.arrays.test_label).tolist() == [60, 60]
    assert 100 < data.arrays.train_image.mean() < 140
    assert data.source.endswith("0 files reported as unusable or doubtful")
    cfg = command.settings(["--dataset", "PETS", "--data_dir", str(tmp_path)])
    assert (cfg.model, cfg.labels) == ("conv-small", 20)
    assert engine_run.build(cfg).steps_per_epoch == 4
