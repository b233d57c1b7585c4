"""evaler.py --generate: the images, what is drawn of them, how they are scored and written."""
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import evaler
import trainer
from config import Spec
from datasets import digits
from engine import generated, restore, state
from models import MODELS
from ops import Pixels
from tests.mirror import mounted
from tests.test_evaler_errors import refused
from tests.test_models import SHAPES

CPU = torch.device("cpu")


def generate(folder, count, *flags):
    """What the evaluator then writes to generated.json."""
    evaler.main(["--checkpoint", str(folder), "--generate", str(count), *map(str, flags)])
    return json.loads((folder / "eval" / "generated.json").read_text())


def restored(folder):
    path = state.find(folder)
    return restore.run(state.load(path), path)


class Shown(nn.Module):
    """A generator and its discriminator's pixels in one: an image is its z, [10, 10] pixels of [-4, 4]."""

    pixels = Pixels(127.5, 31.875)

    def __init__(self, normal):
        super().__init__()
        self.draw = torch.randn if normal else torch.rand

    def prior(self, n, device):
        return self.draw(n, 100, device=device)

    def forward(self, z):
        return z.view(-1, 1, 10, 10)


def test_images_depend_on_the_seed_alone_and_more_begin_with_the_same(runs):
    """The generator normalises by the batch, so that a batch of one would be no image."""
    run = restored(runs["gan"])
    one, some, more, other = (generated.images(run.nets["D"], run.nets["G"], count, seed, CPU)
                              for count, seed in ((1, 5), (30, 5), (230, 5), (30, 6)))
    assert more.shape == (230, 8, 8, 1)
    assert more.dtype == np.uint8
    np.testing.assert_array_equal(one, more[:1])
    np.testing.assert_array_equal(some, more[:30])
    assert (other != some).any()
    assert (more[:100] != more[100:200]).any()


def test_ways_between_uniform_points_are_lines():
    a, b = torch.rand(5), torch.rand(5)
    share = torch.tensor([[0.0], [0.25], [1.0]])
    torch.testing.assert_close(generated.between(a, b, share, normal=False), torch.stack([a, a + (b - a) / 4, b]))


def test_ways_between_normal_points_are_great_circles():
    a = torch.randn(50, dtype=torch.float64)
    b = torch.randn(50, dtype=torch.float64)
    b *= a.norm() / b.norm()
    found = generated.between(a, b, torch.linspace(0, 1, 7, dtype=torch.float64)[:, None], normal=True)
    torch.testing.assert_close(found.norm(dim=1), a.norm().expand(7))
    # The same by turning a in the plane of both: cos(t angle) a + sin(t angle) c, c across a and as long.
    c = b - (a @ b) / (a @ a) * a
    c *= a.norm() / c.norm()
    angle = torch.atan2(b @ c, b @ a)
    for t, point in zip(np.linspace(0, 1, 7), found, strict=True):
        torch.testing.assert_close(point, torch.cos(t * angle) * a + torch.sin(t * angle) * c)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "pixelcnn"])
def test_normal_and_uniform_z_are_told_apart(name):
    nets = MODELS[name](Spec("a", SHAPES[name], 3))
    z = nets["G"].prior(2000, "cpu")
    fourth = ((z - z.mean()) / z.std()).pow(4).mean()  # 1.8 of a uniform, 3 of a normal distribution
    assert generated.is_normal(nets["G"]) == (fourth > 2.4)


@pytest.mark.parametrize("normal", [False, True])
def test_a_row_of_interpolations_goes_from_one_image_to_another(normal):
    G = Shown(normal)
    pictures = generated.interpolations(G, G, 3, CPU)
    assert pictures.shape == (100, 10, 10, 1)
    ways = G.pixels.from_bytes(torch.from_numpy(pictures)).reshape(10, 10, 100)
    turned = ways.diff(dim=1).diff(dim=1).abs().max() > 0.07  # more than the rounding
    lengths = ways.norm(dim=2)
    assert turned == normal
    if normal:  # the middle of a line would be nearer to 0 by a quarter
        assert (lengths.amin(1) > 0.9 * lengths[:, [0, -1]].amin(1)).all()
    assert len({tuple(row) for row in ways[:, 0].tolist()}) == 10
    assert (ways[:, 0] - ways[:, -1]).abs().amax(1).min() > 0.3


def test_the_three_formats_hold_the_same_images(runs, capsys):
    folder = runs["gan"]
    for format in ("hdf5", "grid", "files"):
        found = generate(folder, 130, "--format", format, "--seed", 9)
    assert {path.name for path in (folder / "eval").iterdir()} == {
        "generated.h5", "generated.png", "generated", "generated.json", "interpolations.png", "classes.png"}
    with h5py.File(folder / "eval" / "generated.h5") as file:
        images, facts = file["image"][()], dict(file.attrs)
    assert (images.shape, images.dtype) == ((130, 8, 8, 1), np.uint8)
    assert facts == {"run": folder.name, "checkpoint": "model-30.pt", "recipe": "improved-gan", "dataset": "Digits",
                     "step": 30, "seed": 9}
    files = sorted((folder / "eval" / "generated").iterdir())
    assert [path.name for path in files] == [f"{i:03}.png" for i in range(130)]
    for path, image in zip(files, images, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image[:, :, 0])
    grid = np.asarray(Image.open(folder / "eval" / "generated.png"))[..., 0]
    assert grid.shape == (2 + 11 * 34, 2 + 12 * 34)  # 12 columns
    np.testing.assert_array_equal(grid[2 + 34:34 + 34:4, 2:34:4], images[12, :, :, 0])
    assert found["generated"] == 130
    printed = capsys.readouterr().out.splitlines()
    assert printed[-4:] == [str(folder / "eval" / name) for name in (
        "generated.json", "generated", "interpolations.png", "classes.png")]


def test_fewer_files_replace_more(runs):
    for count in (12, 3):
        generate(runs["free"], count, "--format", "files")
    assert sorted(path.name for path in (runs["free"] / "eval" / "generated").iterdir()) == ["0.png", "1.png", "2.png"]


def test_without_a_seed_it_is_that_of_the_training(runs):
    found = []
    for flags in ((), ("--seed", 1), ("--seed", 2)):
        assert generate(runs["free"], 20, *flags)["seed"] == (2 if 2 in flags else 1)
        found.append((runs["free"] / "eval" / "generated.png").read_bytes())
    assert found[0] == found[1] != found[2]


def test_a_run_without_a_classifier_has_no_rows_of_classes(runs):
    found = generate(runs["free"], 40)
    assert {path.name for path in (runs["free"] / "eval").iterdir()} == {
        "generated.png", "generated.json", "interpolations.png"}
    assert found.keys() & {"frechet", "class_score", "scorer"} == set()


def test_scores_by_another_run(runs, capsys):
    found = generate(runs["free"], 300, "--scorer", runs["alone"])
    printed = capsys.readouterr().out
    assert found["images"] == 300
    assert found["frechet"]["generated"] > found["frechet"]["training"] > 0
    assert found["sliced_wasserstein"]["generated"] > found["sliced_wasserstein"]["training"] > 0
    assert 1 <= found["class_score"]["generated"] <= 10
    assert 1 < found["class_score"]["test"] <= 10
    for value in (found["frechet"]["training"], found["class_score"]["generated"], found["class_score"]["test"]):
        assert f"{value:.4f}" in printed
    assert "supervised, 50 labels" in printed
    assert "not comparable with published FID" in printed
    assert "far too high" not in printed
    generate(runs["free"], 200, "--scorer", runs["alone"])
    assert "ask for many more than 250" in capsys.readouterr().out


def test_scores_know_real_images(runs):
    """Each is of as many images of every kind; the test images themselves are at distance 0."""
    run, judge = restored(runs["free"]), restored(runs["alone"])
    arrays = digits.build()
    found = generated.scores(arrays.test_image, run, judge)
    assert found["images"] == 360
    assert found["sliced_wasserstein"]["generated"] == 0
    assert found["frechet"]["generated"] == pytest.approx(0, abs=1e-6)
    assert found["class_score"]["generated"] == pytest.approx(found["class_score"]["test"])
    noise = np.random.default_rng(0).integers(0, 256, (500, 8, 8, 1), dtype=np.uint8)
    worse = generated.scores(noise, run, judge)
    assert worse["images"] == 360
    assert worse["sliced_wasserstein"]["training"] == found["sliced_wasserstein"]["training"]
    assert worse["sliced_wasserstein"]["generated"] > 3 * found["sliced_wasserstein"]["training"]
    assert worse["frechet"]["generated"] > 3 * found["frechet"]["training"]


def test_projections_are_on_directions_of_length_one():
    images = np.random.default_rng(0).integers(0, 256, (2100, 3, 3, 2), dtype=np.uint8)
    found = generated.project(images)
    assert found.shape == (2100, generated.PROJECTIONS)
    unit = 255 * np.eye(18, dtype=np.uint8).reshape(18, 3, 3, 2)
    directions = generated.project(unit)
    torch.testing.assert_close(directions.square().sum(0), torch.ones(generated.PROJECTIONS))
    torch.testing.assert_close(found, torch.from_numpy(images.reshape(2100, 18) / 255).float() @ directions,
                               atol=1e-5, rtol=1e-4)


def test_an_evaluation_and_generated_images_leave_each_other_alone(runs):
    evaler.main(["--checkpoint", str(runs["gan"])])
    before = (runs["gan"] / "eval" / "eval.json").read_bytes()
    generate(runs["gan"], 10)
    assert (runs["gan"] / "eval" / "eval.json").read_bytes() == before


def test_points_are_drawn_in_the_plane(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert trainer.main(["--recipe=dcgan", "--dataset=Circles", "--steps=2", "--train_dir=runs"]) == 0
    run, = Path("runs").iterdir()
    evaler.main(["--checkpoint", str(run)])
    assert {"samples.png", "training.gif", "g_loss.png"} <= {path.name for path in (run / "eval").iterdir()}
    shutil.rmtree(run / "eval")
    found = generate(run, 50)
    assert found["sliced_wasserstein"]["generated"] > 0
    assert {path.name for path in (run / "eval").iterdir()} == {"generated.png", "generated.json"}
    with Image.open(run / "eval" / "generated.png") as image:
        assert image.size == (512, 540)
    generate(run, 50, "--format", "hdf5")
    with h5py.File(run / "eval" / "generated.h5") as file:
        assert file["image"].shape == (50, 1, 2, 1)


@pytest.mark.parametrize(("run", "flags", "said"), [
    ("alone", ["--generate", 5], "a run of supervised has no generator"),
    ("free", ["--generate", 0], "--generate 0: must be from 1 to 1000000"),
    ("free", ["--generate", -3], "--generate -3"), ("free", ["--generate", 1000001], "--generate 1000001"),
    ("free", ["--generate", "many"], "--generate"),
    ("free", ["--generate", 90000], "a grid shows at most 86505 images"),
    ("free", ["--generate", 5, "--seed", -1], "--seed -1: must be from 0"),
    ("free", ["--generate", 5, "--format", "jpg"], "--format"),
    ("free", ["--generate", 5, "--publish"], "--publish: not used with --generate"),
    ("free", ["--seed", 5], "--seed: only used with --generate or --suggest"),
    ("free", ["--format", "hdf5"], "--format: only used with --generate"),
    ("free", ["--scorer", "nowhere"], "--scorer: only used with --generate"),
    ("free", ["--generate", 5, "--scorer", "nowhere"], "--scorer nowhere: no such file"),
    ("gan", ["--generate", 5, "--scorer", "gan"], "the run itself"),
    ("gan", ["--generate", 5, "--scorer", "free"], "a run without a classifier"),
    ("gan", ["--generate", 5, "--scorer", "toy"], "trained on other data"),
    ("gan", ["--generate", 1, "--scorer", "alone"], "at least two images"),
])
def test_what_cannot_be_generated_or_scored_is_refused(runs, monkeypatch, capsys, run, flags, said):
    flags = [runs.get(flag, flag) if i and flags[i - 1] == "--scorer" else flag for i, flag in enumerate(flags)]
    assert said in refused(monkeypatch, capsys, "--checkpoint", runs[run], *flags)


def test_images_that_do_not_fit_into_the_memory_are_refused(runs, monkeypatch, capsys):
    monkeypatch.setattr(generated.world, "image_budget", lambda where: 1 << 20)
    said = refused(monkeypatch, capsys, "--checkpoint", runs["free"], "--generate", 100_000, "--format", "hdf5")
    assert "needs 24 MB of memory, of which 1 MB may be taken" in said


@pytest.mark.parametrize("format", ["grid", "files", "hdf5"])
def test_a_full_disk_leaves_nothing_half_written(runs, monkeypatch, capsys, format):
    folder = runs["free"] / "eval"
    folder.mkdir()
    with mounted(folder, "64k"):
        said = refused(monkeypatch, capsys, "--checkpoint", runs["free"], "--generate", 2000, "--format", format)
        assert list(folder.iterdir()) == []
    assert "No space left on device" in said
