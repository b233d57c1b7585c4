"""The benchmarks run and tell what they promise; how fast anything is, no test says."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

import download
import recipes
from datasets import digits

FOLDER = Path(__file__).parent.parent / "benchmarks"


def benchmark(name, *argv, cwd):
    return subprocess.run([sys.executable, FOLDER / name, *argv], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_step_of_every_recipe_is_compared_with_a_plain_one(tmp_path):
    done = benchmark("step.py", "--dataset", "digits", "--precision", "auto", "--seconds", "0.1", "--output",
                     "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert {"device", "versions", "commit", "date"} <= found.keys()
    assert [row["recipe"] for row in found["rows"]] == list(recipes.RECIPES)
    for row in found["rows"]:
        assert row["ratio"] > 0
        assert row["plain_its"] > 0 < row["fast_its"]
        assert 0 < row["tflops"] < row["peak_tflops"]


def test_one_row_stands_beside_the_facts(tmp_path):
    done = benchmark("step.py", "--dataset", "digits", "--recipe", "vat", "--seconds", "0.1", "--output", "out.json",
                     cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert {"plain_its", "fast_its", "ratio", "tflops", "peak_tflops", "device", "versions"} <= found.keys()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells what is resident")
def test_a_file_is_walked_whole(tmp_path):
    done = benchmark("large.py", "--gigabytes", "0.02", "--seconds", "0.1", "--folder", tmp_path, "--output",
                     tmp_path / "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["each_image_once"]
    assert found["resumed_exactly"]
    assert found["ratio"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("recipe", ["improved-gan", "pixelcnn"])
def test_the_time_of_a_step_is_broken_down(recipe, tmp_path):
    done = benchmark("breakdown.py", "--dataset", "digits", "--recipe", recipe, "--steps", "3", "--output", "out.json",
                     "--picture", "out.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads((tmp_path / "out.json").read_text())["rows"]}
    products = {"improved-gan": "products", "pixelcnn": "convolutions"}[recipe]
    for what in (products, "optimisers and average", "batches", "evaluation", "checkpoints"):
        assert rows[what]["ms_per_step"] > 0
    assert all(row["ms_per_step"] >= 0 for row in rows.values())  # what is left over may be nothing beside other work
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    assert (tmp_path / "out.png").stat().st_size > 1000


def test_what_grows_is_measured(tmp_path):
    done = benchmark("scaling.py", "--most", "16", "--seconds", "0.1", "--vary", "batch_size", "image_size", "--output",
                     "out.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["varied"], row["value"]) for row in rows] == [("batch_size", 10), ("image_size", 16)]
    assert all(row["steps_per_second"] > 0 for row in rows)


def test_suggested_labels_are_compared_with_random_ones(tmp_path):
    done = benchmark("suggestion.py", "--seeds", "2", "--first_seed", "4", "--steps", "3", "--output", "out.json",
                     cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [row["seed"] for row in rows] == [4, 5, "mean", "std"]
    labels = digits.build().train_label
    for row in rows[:2]:
        assert row["gain"] == pytest.approx(row["suggested"] - row["random"])
        assert row["classes"] == len(set(labels[row["suggested_rows"]]))
        assert f"--label_seed {row['seed']}: test accuracy {row['random']:.2%}" in done.stdout
    for name in ("suggested", "random", "gain"):
        assert rows[2][name] == pytest.approx((rows[0][name] + rows[1][name]) / 2)
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    download.main(["--dataset", "Digits", "--suggest", "20", "--seed", "4", "--data_dir", str(tmp_path)])
    assert rows[0]["suggested_rows"] == [int(row) for row in (tmp_path / "digits" / "suggest.txt").read_text().split()]


@pytest.mark.parametrize(("script", "flag", "value", "message"), [
    ("step.py", "--dataset", "digitz", "did you mean Digits"), ("step.py", "--precision", "int8", "int8"),
    ("breakdown.py", "--precision", "int8", "int8"), ("suggestion.py", "--labels", "25", "multiple of the 10 classes"),
    ("suggestion.py", "--recipe", "vatt", "did you mean vat")])
def test_bad_names_end_in_two_lines(tmp_path, script, flag, value, message):
    done = benchmark(script, flag, value, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 2
