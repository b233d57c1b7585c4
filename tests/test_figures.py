import contextlib
import shutil

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from engine import figures

NAMES = ("cat", "$dog$", "eel")


@pytest.fixture
def drawn(monkeypatch):
    """The matplotlib figures, which the functions then write nowhere."""
    kept = []

    @contextlib.contextmanager
    def keep(path, size):
        kept.append(Figure(size))
        yield kept[-1]

    monkeypatch.setattr(figures, "canvas", keep)
    return kept


def pictures(folder, count):
    for i in range(count):
        Image.new("RGB", (100, 20), "blue").save(folder / f"{10 * i:08d}.png")
    return sorted(folder.glob("*.png"))


def picture(path):
    with Image.open(path) as image:
        image.load()
        return image.size


def test_small_images_are_enlarged_by_whole_factors():
    images = torch.arange(3 * 8 * 8, dtype=torch.uint8).reshape(3, 1, 8, 8)
    made = figures.grid(images, columns=2)
    assert made.shape == (2 * 34 + 2, 2 * 34 + 2, 3)
    np.testing.assert_array_equal(made[2:34:4, 2:34:4, 0], images[0, 0])
    np.testing.assert_array_equal(made[2:34, 2:34, 1], images[0, 0].repeat_interleave(4, 0).repeat_interleave(4, 1))


def test_a_row_of_images_for_each_class():
    images = np.arange(1, 7, dtype=np.uint8)[:, None, None, None] * np.full((1, 32, 32, 1), 20, np.uint8)
    picture = figures.by_class(images, np.array([2, 0, 2, 2, 0, 2]), NAMES, columns=3)
    assert picture.shape == (3 * 34 + 2, 120 + 3 * 34 + 2, 3)
    cells = [[picture[18 + 34 * row, 138 + 34 * column, 0] for column in range(3)] for row in range(3)]
    assert cells == [[40, 100, 127], [127] * 3, [20, 60, 80]]  # in the order in which they were drawn
    assert all((picture[34 * row:34 * row + 34, :118] < 100).any() for row in range(3))  # names


@pytest.mark.parametrize(("count", "frames"), [(1, 1), (3, 3), (60, 60), (130, 60)])
def test_animation_shows_each_picture_once(tmp_path, count, frames):
    """The pictures are all alike: without the step on them the format would join them into one frame."""
    figures.animation(tmp_path / "training.gif", pictures(tmp_path, count))
    with Image.open(tmp_path / "training.gif") as image:
        durations = []
        for i in range(image.n_frames):
            image.seek(i)
            durations.append(image.info["duration"])
        assert image.n_frames == frames
        assert image.info["loop"] == 0
    assert durations[-1] > 1000
    assert all(duration < 500 for duration in durations[:-1])


def test_animation_has_the_first_and_the_last_picture(tmp_path, monkeypatch):
    steps, frame = [], figures._frame
    monkeypatch.setattr(figures, "_frame", lambda path: steps.append(int(path.stem)) or frame(path))
    figures.animation(tmp_path / "training.gif", pictures(tmp_path, 130))
    assert (steps[0], steps[-1], len(set(steps))) == (0, 1290, 60)


def test_only_pictures_of_a_step_are_samples(tmp_path):
    (tmp_path / "samples").mkdir()
    shown = pictures(tmp_path / "samples", 2)
    shutil.copy(shown[0], shown[0].with_name("00000010 (1).png"))
    assert figures.pictures(tmp_path) == shown


def test_animation_leaves_out_damaged_pictures(tmp_path):
    shown = pictures(tmp_path, 4)
    shown[0].write_bytes(shown[0].read_bytes()[:50])
    shown[1].write_bytes(b"")
    shown[2].write_bytes(shown[2].read_bytes()[:45] + bytes(60))
    assert figures.animation(tmp_path / "training.gif", shown) == [tmp_path / "training.gif"]
    assert picture(tmp_path / "training.gif") == (100, 36)
    assert figures.animation(tmp_path / "none.gif", shown[:3]) == figures.animation(tmp_path / "none.gif", []) == []
    assert not (tmp_path / "none.gif").exists()


def test_one_picture_per_loss(tmp_path):
    curves = {"loss/s_loss": ([1, 2], [3.0, 4.0]), "accuracy/test": ([1], [0.5]), "loss/other": ([1, 2], [0.0, 0.0])}
    written = figures.losses(tmp_path, curves, "title", "step")
    assert [path.name for path in written] == ["s_loss.png", "other.png"]
    assert all(picture(path)[0] > 400 for path in written)


def test_curves_carry_their_values_and_units(tmp_path, drawn):
    figures.losses(tmp_path, {"loss/s_loss": ([1, 2], [3.0, 4.0])}, "title", "step")
    axes = drawn[0].axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[1, 3], [2, 4]]
    assert "nats" in axes.get_ylabel()
    assert (axes.get_xlabel(), axes.get_title()) == ("step", "title")


def test_accuracies_are_in_percent_with_the_baseline_dashed(tmp_path, drawn):
    curves = {"accuracy/test": ([1, 2], [0.5, 0.75]), "accuracy/validation": ([1], [0.25]), "loss/d_loss": ([1], [1.0])}
    figures.accuracies(tmp_path / "a.png", curves, "title", "step", 0.6)
    figures.accuracies(tmp_path / "a.png", curves, "title", "step", None)
    beside, alone = (figure.axes[0].lines for figure in drawn)
    assert [line.get_ydata()[-1] for line in beside] == [75, 25, 60]
    assert beside[-1].get_linestyle() == "--"
    assert [line.get_ydata()[-1] for line in alone] == [75, 25]


@pytest.mark.parametrize(("values", "scale"), [([0.01, 2.0], "log"), ([0.4, 4.1], "log"), ([1.0, 2.0], "linear"),
                                               ([0.0, 2.0], "linear"), ([-1.0, 2.0], "linear")])
def test_losses_over_a_decade_are_logarithmic(tmp_path, drawn, values, scale):
    figures.losses(tmp_path, {"loss/s_loss": ([1, 2], values)}, "title", "step")
    axes = drawn[0].axes[0]
    assert axes.get_yscale() == scale
    told = [tick.get_text() for which in ("major", "minor") for tick in axes.yaxis.get_ticklabels(which=which)]
    assert not any("$" in text for text in told)
    assert {"0.1", "1"} & set(told) or scale == "linear"
    assert ("0.5" in told) == (values[0] == 0.4) or scale == "linear"


def test_raw_weights_do_not_hide_the_averaged_ones(tmp_path, drawn):
    curves = {"accuracy/test": ([1, 2], [0.5, 0.75]), "accuracy/test_raw_weights": ([1, 2], [0.5, 0.7])}
    figures.accuracies(tmp_path / "a.png", curves, "title", "step", None)
    averaged, raw = drawn[0].axes[0].lines
    assert (averaged.get_linestyle(), raw.get_linestyle()) == ("-", ":")


def test_a_run_without_an_average_has_one_test_curve(tmp_path, drawn):
    curves = {f"accuracy/{name}": ([1, 2], [0.5, 0.75]) for name in ("test", "test_raw_weights", "labelled")}
    figures.accuracies(tmp_path / "a.png", curves, "title", "step", None)
    assert [line.get_label() for line in drawn[0].axes[0].lines] == ["test", "labelled images"]


def test_confusion_names_classes_and_counts(tmp_path, drawn):
    figures.confusion(tmp_path / "c.png", [[5, 0, 2], [0, 3, 0], [0, 0, 0]], NAMES, "title")
    axes = drawn[0].axes[0]
    counts = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "5", (0, 2): "2", (1, 1): "3"}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(NAMES)
    assert axes.get_ylabel() == "true class"


def test_confusion_of_many_classes_stays_usable(tmp_path):
    figures.confusion(tmp_path / "c.png", np.eye(300, dtype=int), [f"class {k}" for k in range(300)], "title")
    assert max(picture(tmp_path / "c.png")) < 2000


def test_sheet_shows_the_most_confident_errors_first(tmp_path, drawn):
    probabilities = np.array([[0.6, 0.4, 0], [0.1, 0.9, 0], [0.3, 0.7, 0], [0, 0, 1]])
    images = np.zeros((4, 8, 8, 1), np.uint8)
    figures.mistakes(tmp_path / "e.png", images, np.array([1, 0, 0, 2]), probabilities, NAMES, "title")
    titles = [axes.get_title() for axes in drawn[0].axes if axes.images]
    assert titles == ["cat\n→ $dog$\n90.0%", "cat\n→ $dog$\n70.0%", "$dog$\n→ cat\n60.0%"]


@pytest.mark.parametrize("wrong", [1, 70])
def test_sheet_has_room_for_any_number_of_errors(tmp_path, wrong):
    probabilities = np.tile([0.2, 0.8, 0], (70, 1))
    labels = np.where(np.arange(70) < wrong, 0, 1)
    images = np.zeros((70, 8, 8, 3), np.uint8)
    figures.mistakes(tmp_path / "e.png", images, labels, probabilities, NAMES, r"$\no formula$")
    assert picture(tmp_path / "e.png")[0] == 1200


def test_reliability_diagram(tmp_path, drawn):
    bins = np.array([[0, 0, 0], [30, 0.7, 0.6], [10, 0.9, 1]])
    figures.reliability(tmp_path / "r.png", bins, 0.1, "title")
    upper, lower = drawn[0].axes
    assert [bar.get_height() for bar in upper.patches] == [0.6, 1]
    assert [bar.get_height() for bar in lower.patches] == [0, 0.75, 0.25]
    assert "10.00%" in upper.get_title()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_mistakes_of_any_number_of_channels(tmp_path, channels):
    images = np.random.RandomState(0).randint(0, 256, (3, 9, 7, channels)).astype(np.uint8)
    figures.mistakes(tmp_path / "errors.png", images, np.zeros(3, int), np.array([[0.1, 0.9]] * 3), ("a", "b"), "title")
    assert (tmp_path / "errors.png").stat().st_size > 1000
