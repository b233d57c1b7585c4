"""From arrays to batches."""
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.augment import augment
from datasets.pipeline import LABELLED, Pipeline
from datasets.splits import Split
from datasets.storage import Storage
from datasets.stream import Stream
from engine import run, world
from ops import Pixels

RNG = np.random.RandomState(0)
IMAGES, LABELS = RNG.randint(0, 256, (20, 5, 4, 3)).astype(np.uint8), np.arange(20) % 4
SPLIT = Split(np.array([0, 1, 2, 3]), np.array([19]), np.arange(19))


def pipeline(images=IMAGES, place="device"):
    return Pipeline(images, LABELS, SPLIT, Pixels(127.5, 127.5), 4, 7, torch.device("cpu"), place)


def test_pixels_and_labels_are_those_of_the_rows():
    ours = pipeline()
    batch = ours.batch(ours.fetch(1, 3), torch.tensor(3.0), None)
    unlabelled, labelled = Stream(SPLIT.pool, 7, 2).take(12, 4), Stream(SPLIT.labelled, 7, LABELLED).take(12, 4)
    for images, rows in ((batch.x_unl, unlabelled), (batch.x_lab, labelled)):
        expected = (IMAGES[rows].astype(np.float64) - 127.5) / 127.5
        np.testing.assert_allclose(images.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)
    assert batch.y_lab.tolist() == LABELS[labelled].tolist()
    known = [LABELS[row] if row in SPLIT.labelled else -1 for row in unlabelled]
    assert batch.y_unl.tolist() == known
    assert batch.step.item() == 3
    assert batch.x_again is None


def test_a_second_view_is_the_same_images_changed_anew():
    ours = Pipeline(IMAGES, LABELS, SPLIT, Pixels(0, 1), 4, 7, torch.device("cpu"), second_view=True,
                    augment=lambda x: x + torch.randint(0, 2, (len(x), 1, 1, 1), dtype=torch.uint8) * 3)
    fetched = ours.fetch(0, 0)
    torch.manual_seed(0)
    views = [ours.batch(fetched, torch.zeros(()), None) for _ in range(8)]
    changes = torch.stack([v.x_again - v.x_unl for v in views])
    assert set(changes.remainder(256).unique().tolist()) == {0, 3, 253}  # bytes wrap


def test_labelled_and_unlabelled_images_are_augmented():
    ours = Pipeline(IMAGES, LABELS, SPLIT, Pixels(0, 1), 4, 7, torch.device("cpu"), augment=lambda x: 255 - x)
    fetched = ours.fetch(0, 0)
    batch = ours.batch(fetched, torch.zeros(()), None)
    x_lab, _, x_unl, _ = ours.images(fetched)
    assert torch.equal(batch.x_lab, 255.0 - x_lab)
    assert torch.equal(batch.x_unl, 255.0 - x_unl)


def test_the_next_batch_is_fetched_ahead_once(monkeypatch):
    ours = pipeline(place="host")
    read, asked = ours._read, []
    monkeypatch.setattr(ours, "_read", lambda *what: asked.append(what) or read(*what))
    for position in range(3):
        ours.fetch(1, position)
    ours.worker.shutdown()
    assert [what for what in asked if what[0] == "pool"] == [("pool", 2, 4 * position, 4) for position in range(4)]


def test_what_is_taken_once_leaves_nothing_behind():
    ours = pipeline(place="host")
    assert torch.equal(ours.take("pool", 0, 0, 10)[0], pipeline().take("pool", 0, 0, 10)[0])
    assert not ours.ahead


@pytest.mark.parametrize("place", ["device", "host"])
def test_labelled_images_are_fetched_where_they_are_asked_for_alone(place, monkeypatch):
    ours = pipeline(place=place)
    walked, original = [], ours._stream
    monkeypatch.setattr(ours, "_stream", lambda *walk: walked.append(walk) or original(*walk))
    without = ours.batch(ours.fetch(1, 3, labelled=False), torch.zeros(()), None)
    assert (without.x_lab.shape, without.y_lab.shape) == ((0, 3, 5, 4), (0,))
    assert {what for what, _ in walked} == {"pool"}
    both = ours.batch(ours.fetch(1, 3), torch.zeros(()), None)
    assert torch.equal(both.x_unl, without.x_unl)
    assert torch.equal(both.y_unl, without.y_unl)


def test_validation_rows_and_hidden_labels_are_never_drawn():
    ours = pipeline()
    assert ours.labels.tolist() == [0, 1, 2, 3] + [-1] * 16
    drawn = {tuple(image.flatten().tolist()) for i in range(40) for image in ours.images(ours.fetch(0, i))[2]}
    assert len(drawn) == 19


@pytest.mark.parametrize("place", ["device", "host", "disk"])
def test_without_labelled_rows_there_are_unlabelled_images_alone(place, tmp_path):
    (tmp_path / "images").write_bytes(IMAGES.tobytes())
    images = np.memmap(tmp_path / "images", np.uint8, "r", 0, IMAGES.shape) if place == "disk" else IMAGES
    split = Split(np.empty(0, np.int64), np.empty(0, np.int64), np.arange(20))
    ours = Pipeline(images, np.full(20, -1), split, Pixels(0, 1), 4, 7, torch.device("cpu"), place,
                    lambda x: augment(x, flip=True, shift=1))
    for position in range(12):
        batch = ours.batch(ours.fetch(0, position), torch.zeros(()), None)
        assert (batch.x_lab.shape, batch.y_lab.shape) == ((0, 3, 5, 4), (0,))
        assert batch.x_unl.shape == (4, 3, 5, 4)
        assert batch.y_unl.tolist() == [-1] * 4


def test_every_place_gives_the_same_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.pipeline.WINDOW", 6 * IMAGES[0].nbytes)
    monkeypatch.setattr("datasets.pipeline.BLOCK", 2 * IMAGES[0].nbytes)
    monkeypatch.setattr("datasets.pipeline.AHEAD", 3)  # batches
    (tmp_path / "images").write_bytes(b"a head of nine thousand bytes".ljust(9000) + IMAGES.tobytes())
    mapped = np.memmap(tmp_path / "images", np.uint8, "r", 9000, IMAGES.shape)
    places, walk = [pipeline(), pipeline(place="host"), pipeline(mapped, "disk")], Stream(SPLIT.pool, 7, 2, 6, 2)
    for position in (0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 21, 9):  # jumps, as a resume makes one
        first, *others = [ours.images(ours.fetch(1, position)) for ours in places]
        assert torch.equal(first[2].permute(0, 2, 3, 1), torch.from_numpy(IMAGES[walk.take(4 * position, 4)]))
        for other in others:
            assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_next_window_of_a_walk_is_read_ahead_once(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.pipeline.WINDOW", 6 * IMAGES[0].nbytes)
    monkeypatch.setattr("datasets.pipeline.BLOCK", 2 * IMAGES[0].nbytes)
    IMAGES.tofile(tmp_path / "images")
    ours = pipeline(np.memmap(tmp_path / "images", np.uint8, "r", 0, IMAGES.shape), "disk")
    asked, walk = [], Stream(SPLIT.pool, 7, 2, 6, 2)
    monkeypatch.setattr(ours.storage, "read_ahead", lambda rows: asked.append(rows.tolist()))
    for position in range(0, 19, 2):  # one epoch in windows of 6, 6, 6 and 1
        ours.take("pool", 2, position, min(2, 19 - position))
    assert asked == [walk.rows_of(number).tolist() for number in (1, 2, 3, 4)]


def test_images_that_just_fit_are_not_counted_twice(build, monkeypatch):
    """What is free has shrunk by the images once they were loaded."""
    free = iter([80 * 64, 0])
    monkeypatch.setattr(world, "image_budget", lambda where: next(free, 0))
    assert build(data="auto").pipeline.storage.place == "device"
    assert build(data="auto").pipeline.storage.place == "disk"  # now there is no room at all


@pytest.mark.parametrize(("asked", "device", "free", "place"), [
    ("auto", "cuda", 80 * 64, "device"), ("auto", "cuda", 80 * 64 - 1, "host"), ("auto", "cpu", 0, "device"),
    ("host", "cpu", 80 * 64, "host"), ("device", "cuda", 0, "device")])
def test_the_place_of_loaded_images(build, monkeypatch, asked, device, free, place):
    data = build().data
    monkeypatch.setattr(world, "image_budget", lambda where: free)
    assert run.storage_place(asked, data, torch.device(device)) == place


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is resident")
def test_images_on_the_disk_take_no_memory_of_the_process(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3000, 64, 64, 3), dtype=np.uint8)
    (tmp_path / "images").write_bytes(b"head" + images.tobytes())
    mapped = np.memmap(tmp_path / "images", np.uint8, "r", 4, images.shape)
    storage, rows = Storage(mapped, "disk", torch.device("cpu")), np.arange(100, 2900)
    storage.read_ahead(rows)
    for some in (rows[::7], rows[:9]):
        assert torch.equal(storage.take(some).permute(0, 2, 3, 1), torch.from_numpy(images[some]))
    told = Path("/proc/self/smaps").read_text().split(str(tmp_path))[1].splitlines()
    resident = next(int(line.split()[1]) for line in told if line.startswith("Rss:")) * 1024
    assert resident < 0.02 * images.nbytes


def test_a_file_that_was_cut_off_under_a_run_is_told(tmp_path):
    (tmp_path / "images").write_bytes(IMAGES.tobytes())
    mapped = np.memmap(tmp_path / "images", np.uint8, "r", 0, IMAGES.shape)
    storage = Storage(mapped, "disk", torch.device("cpu"))
    os.truncate(tmp_path / "images", 100)
    with pytest.raises(OSError, match="ends before image 7"):
        storage.take(np.array([7]))
