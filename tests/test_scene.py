"""The picture of a point set."""
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import trainer
from engine import figures, scene
from ops import Pixels, Verdict
from tests.runs import evaluated

CPU = torch.device("cpu")


class Halves(nn.Module):
    """Class 1 right of the middle; real above it."""

    pixels = Pixels(0, 255)

    def forward(self, x):
        right, up = (x.flatten(1) - 0.5).T
        return Verdict(torch.stack([-100 * right, 100 * right], 1), up, x.flatten(1))


def point(*places):
    return np.array(places, np.uint8).reshape(-1, 1, 2, 1)


LABELLED = point((40, 200), (200, 40))


def draw(labelled=LABELLED, labels=(0, 1), generated=None, net=None):
    return scene.draw(net or Halves(), point((60, 60)), labelled, np.array(labels), generated, CPU).astype(int)


def at(picture, x, y):
    """The colour at a point of the plane."""
    return picture[2 * (255 - y) + 1, 2 * x + 1]


def test_the_plane_has_the_colours_of_the_classes():
    picture = draw()
    for x, label in ((20, 0), (235, 1)):
        for y in (20, 235):
            np.testing.assert_allclose(at(picture, x, y), 0.4 * scene.COLOURS[label] + 153, atol=1)
    assert (at(picture, 40, 200) == scene.COLOURS[0]).all()
    assert (at(picture, 200, 40) == scene.COLOURS[1]).all()
    assert (at(picture, 60, 60) == scene.GREY).all()


def test_without_classes_the_plane_has_one_colour():
    class Upper(Halves):
        def forward(self, x):
            return super().forward(x)._replace(classes=x.new_zeros(len(x), 0))

    picture = draw(point(), (), point((150, 90)), Upper())
    for y, strength in ((235, 0.5), (20, 0.2)):
        for x in (20, 235):
            np.testing.assert_allclose(at(picture, x, y), 255 + strength * (scene.COLOURS[0] - 255), atol=1)
    legend = draw(generated=point((150, 90)))[512:] != picture[512:]
    assert legend[:, :100].any()  # it does not tell of labelled points
    assert not legend[:, 125:].any()


def test_generated_points_are_crosses_and_the_line_is_where_real_is_one_half():
    without, picture = draw(), draw(generated=point((150, 90)))
    assert at(without, 20, 20).sum() < at(picture, 20, 20).sum()  # paler where it is less
    assert at(picture, 20, 235).sum() < at(without, 20, 235).sum()
    assert (at(picture, 150, 90) == scene.PINK).all()
    rows = [y for y in range(256) if (at(picture, 20, y) == 0).all()]
    assert rows
    assert all(abs(y - 127.5) <= 2 for y in rows)
    assert (at(without, 150, 90) == at(without, 160, 80)).all()
    assert not any((at(without, 20, y) == 0).all() for y in range(256))
    assert without.shape == picture.shape


def test_more_classes_than_colours_can_be_drawn():
    class Many(Halves):
        def forward(self, x):
            return super().forward(x)._replace(classes=torch.eye(12)[torch.full((len(x),), 11)])

    assert draw(net=Many(), labels=(11, 3)).shape == draw().shape


@pytest.mark.parametrize("recipe", ["improved-gan", "supervised"])
def test_progress_is_a_scene_for_points_with_or_without_a_generator(build, recipe):
    run = build(recipe, "Circles", batch_size=100)
    seen = figures.progress(run.state.nets, run.state.averaged, run.data, run.pipeline.split.labelled, 1, CPU)
    assert seen.shape == draw().shape
    crosses = (seen[:512] == scene.PINK).all(2).sum()
    assert crosses > 100 if recipe == "improved-gan" else crosses == 0


def test_progress_of_images_is_a_grid_or_nothing(build):
    for recipe, shape in (("improved-gan", (342, 342, 3)), ("supervised", None)):
        run = build(recipe, "Grey8")
        seen = figures.progress(run.state.nets, run.state.averaged, run.data, run.pipeline.split.labelled, 1, CPU)
        assert getattr(seen, "shape", None) == shape


@pytest.fixture(scope="module")
def rings(tmp_path_factory):
    """A run on Circles and its baseline, evaluated: the run's folder and eval.json."""
    runs = tmp_path_factory.mktemp("rings")
    short = ["--dataset=circles", "--labels=4", "--steps=300", "--eval_every=100", "--save_every=100",
             "--device=cpu", "--precision=float32", f"--train_dir={runs}"]
    for flags in (["--recipe=supervised", "--prefix=alone"], ["--prefix=gan", "--sample_every=100"]):
        assert trainer.main([*short, *flags]) == 0
    (folder,) = runs.glob("gan-*")
    return folder, evaluated(folder)


def test_unlabelled_points_help_to_tell_the_rings_apart(rings):
    found = rings[1]
    assert found["accuracy"] > 0.95
    assert found["supervised_baseline"]["accuracy"] < 0.8


def test_a_run_on_points_leaves_its_scenes(rings):
    folder, _ = rings
    assert {path.name for path in (folder / "eval").iterdir()} == {
        "eval.json", "card.md", "samples.png", "labels_alone.png", "training.gif", "accuracy.png", "confusion.png",
        "reliability.png", "s_loss.png", "d_loss_real.png", "d_loss_fake.png", "d_loss.png", "g_loss.png",
        "feature_matching.png"}
    frames = [np.asarray(Image.open(path)) for path in sorted((folder / "samples").iterdir())]
    assert [frame.shape for frame in frames] == [draw().shape] * 4  # at steps 0, 100, 200, 300
    assert (frames[-1] != frames[-2]).any()
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "eval" / "samples.png")), frames[-1])
    alone = next(folder.parent.glob("alone-*/samples/*300.png"))
    assert (folder / "eval" / "labels_alone.png").read_bytes() == alone.read_bytes()
