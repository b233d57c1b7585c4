"""trainer.py as a user runs it."""
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import datasets
import recipes
import trainer as script
from config import ACTIONS
from datasets import h5
from engine import state
from engine.log import read_metrics
from tests.conftest import toy_arrays
from tests.runs import ROOT, TOY, command, differing, edit, interrupted, only_run, started, trainer, weights

LONG = ("--steps", "40", "--log_every", "10", "--eval_every", "20", "--sample_every", "20", "--save_every", "20",
        "--keep", "9", "--validation", "8", "--prefix", "mine")


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """A folder in which one short run was trained, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    done = trainer(*TOY, "--data_dir", data_dir, *LONG, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_run_folder(finished):
    folder, done = finished
    run = only_run(folder)
    assert run.name.startswith("mine-Grey8_improved-gan_labels8_1_seed1-20")
    facts = json.loads((run / "config.json").read_text())
    assert facts["settings"]["steps"] == 40
    assert facts["versions"]["torch"] == torch.__version__
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert facts["versions"]["toolkit"].removesuffix("-dirty") == (head.stdout[:12] or "unknown")
    saved = state.load(state.find(run))
    assert saved["labelled_digest"] == facts["labelled_digest"]
    assert [int(line) for line in (run / "labelled.txt").read_text().split()] == saved["labelled"].tolist()
    assert [p.name for p in state.checkpoints(run)] == ["model-20.pt", "model-40.pt"]
    assert [p.name for p in sorted((run / "samples").iterdir())] == [f"{n:08d}.png" for n in (0, 20, 40)]
    assert f"python evaler.py --checkpoint train_dir/{run.name}" in done.stdout


def test_a_run_is_trained_by_one_process_at_a_time(data_dir, tmp_path):
    flags = (*TOY, "--data_dir", data_dir, "--steps", 100_000, "--log_every", 20, "--save_every", 5)
    with started(*flags, cwd=tmp_path) as first:
        try:
            run = only_run(tmp_path)
            settings = (run / "config.json").read_text()
            first.send_signal(signal.SIGSTOP)  # or its newest checkpoint may be another one meanwhile
            second = trainer("--checkpoint", run, "--keep", 5, cwd=tmp_path)
        finally:
            first.kill()
    assert second.returncode == 2
    assert f"{run}: another process trains this run; wait for its end, or stop it" in second.stderr
    assert (run / "config.json").read_text() == settings


def test_what_a_kill_left_of_a_checkpoint_goes(finished, data_dir, tmp_path):
    run = shutil.copytree(only_run(finished[0]), tmp_path / "run")
    (run / "model-41.tmp").write_bytes(b"half")
    done = trainer("--checkpoint", run, "--data_dir", data_dir, "--steps", 42, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(run.glob("*.tmp"))


def test_curves_have_the_reference_names(finished):
    folder, done = finished
    run = only_run(folder)
    lines = read_metrics(run)
    names = {name for line in lines for name in line}
    assert names == {"step", "loss/s_loss", "loss/d_loss_real", "loss/d_loss_fake", "loss/d_loss", "loss/g_loss",
                     "loss/feature_matching", "accuracy/test", "accuracy/test_raw_weights", "accuracy/labelled",
                     "accuracy/validation", "rate/steps_per_second"}
    for line in lines:
        if "loss/d_loss" in line:
            assert line["loss/d_loss"] == pytest.approx(
                line["loss/s_loss"] + line["loss/d_loss_real"] + line["loss/d_loss_fake"], abs=1e-5)
    assert f"test accuracy {lines[-1]['accuracy/test']:.2%} (" in done.stdout


def test_tensorboard_shows_the_same(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    run = only_run(finished[0])
    board = EventAccumulator(str(run)).Reload()
    tags = board.Tags()
    assert set(tags["images"]) == {"img/real", "img/fake"}
    assert "config/text_summary" in tags["tensors"]
    for line in read_metrics(run):
        for name in set(line) - {"step"}:
            assert line["step"] in [event.step for event in board.Scalars(name)]
    assert any("hparams" in tag for tag in board.summary_metadata)


def curves(run):
    """The lines of metrics.jsonl without the speed."""
    return [{name: value for name, value in line.items() if name != "rate/steps_per_second"}
            for line in read_metrics(run)]


def test_interrupt_and_resume_is_bitwise_the_uninterrupted_run(finished, data_dir, tmp_path):
    done = interrupted(*TOY, "--data_dir", data_dir, *LONG, cwd=tmp_path)
    assert done.returncode == 130
    assert "go on with: python trainer.py --checkpoint" in done.stderr
    run = only_run(tmp_path)
    stopped_at = state.load(state.find(run))["step"]
    assert 10 <= stopped_at < 40
    again = trainer("--checkpoint", run, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert differing(weights(run), weights(only_run(finished[0]))) == []
    assert curves(run) == curves(only_run(finished[0]))


def test_a_hang_up_leaves_a_checkpoint_too(data_dir, tmp_path):
    done = interrupted(*TOY, "--data_dir", data_dir, *LONG, cwd=tmp_path, number=signal.SIGHUP)
    assert done.returncode == 130
    assert "go on with: python trainer.py --checkpoint" in done.stderr
    assert state.find(only_run(tmp_path))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_a_seed_that_is_killed_is_no_success(data_dir, tmp_path):
    process = subprocess.Popen(command(*TOY, "--data_dir", data_dir, "--steps", 3000, "--seed", 1, 2), cwd=tmp_path,
                               stdout=subprocess.PIPE, text=True)
    deadline, children = time.monotonic() + 60, []
    while len(children) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
        tasks = Path(f"/proc/{process.pid}/task").glob("*/children")  # each thread has its own
        children = [child for task in tasks for child in task.read_text().split()]
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert said.count("not finished") == 2
    assert process.returncode == 128 + signal.SIGKILL


def test_a_checkpoint_among_the_files_of_another_run_is_not_gone_on_with(data_dir, tmp_path):
    assert trainer(*TOY, "--data_dir", data_dir, "--steps", 2, cwd=tmp_path).returncode == 0
    run = only_run(tmp_path)
    other = tmp_path / "other"
    (other / "samples").mkdir(parents=True)
    shutil.copy(run / "model-2.pt", other)
    facts = json.loads((run / "config.json").read_text())
    facts["settings"]["seed"] = 5
    (other / "config.json").write_text(json.dumps(facts))
    (other / "samples" / "20240101.png").write_bytes(b"a picture")
    done = trainer("--checkpoint", other, "--steps", 4, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "config.json: of another run; put the checkpoint into a folder of its own" in done.stderr
    assert sorted(path.name for path in other.rglob("*")) == ["20240101.png", "config.json", "model-2.pt", "samples"]
    (other / "config.json").write_text("{")  # cut off by a full disk
    assert trainer("--checkpoint", other, "--steps", 4, cwd=tmp_path).returncode == 0
    assert json.loads((other / "config.json").read_text())["settings"]["seed"] == 1


def test_losses_not_yet_written_outlive_the_process(data_dir, tmp_path):
    flags = [*TOY, "--data_dir", data_dir, "--decay_from", 1, "--log_every", 5, "--eval_every", 12]
    assert trainer(*flags, "--steps", 12, "--save_every", 7, cwd=tmp_path).returncode == 0
    run = only_run(tmp_path)
    whole = curves(run)
    assert [line["step"] for line in whole] == [5, 10, 12, 12]
    (run / "model-12.pt").unlink()  # as if it had been killed after the checkpoint of step 7
    assert trainer("--checkpoint", run, cwd=tmp_path).returncode == 0
    assert curves(run) == whole
    for end in (7, 12):
        start = ["--checkpoint", tmp_path / "short"] if end == 12 else [*flags, "--train_dir", tmp_path / "short"]
        assert trainer(*start, "--steps", end, cwd=tmp_path).returncode == 0
    longer = curves(next((tmp_path / "short").iterdir()))
    assert [line for line in longer if line["step"] != 7] == whole


def test_a_run_keeps_the_versions_and_lengths_that_it_had(data_dir, tmp_path):
    def facts():
        return json.loads((run / "config.json").read_text())

    assert trainer(*TOY, "--data_dir", data_dir, "--steps", 2, cwd=tmp_path).returncode == 0
    run = only_run(tmp_path)
    ours = facts()["versions"]
    assert facts()["resumed"] == []
    edit(run / "model-2.pt", lambda saved: saved["versions"].update(torch="0.4"))
    went_on = []
    for steps in (3, 4):  # the second time on the machine of the first
        went_on.append({"step": steps - 1, "versions": ours, "steps_before": steps - 1})
        assert trainer("--checkpoint", run, "--steps", steps, cwd=tmp_path).returncode == 0
        assert facts()["versions"] == ours | {"torch": "0.4"}
        assert facts()["resumed"] == went_on
    assert trainer("--checkpoint", run, "--log_every", 7, cwd=tmp_path).returncode == 0  # nothing to tell
    saved = state.load(run / "model-4.pt")
    assert (saved["versions"], saved["resumed"]) == (facts()["versions"], facts()["resumed"])


def test_a_finished_run_says_that_it_is(finished):
    done = trainer("--checkpoint", only_run(finished[0]), cwd=finished[0])
    assert done.returncode == 0
    assert "finished already, at step 40; a larger --steps trains on" in done.stderr


@pytest.mark.parametrize("place", ["host", "disk"])
def test_the_place_of_the_images_changes_nothing(finished, data_dir, tmp_path, place):
    done = trainer(*TOY, "--data_dir", data_dir, *LONG, "--data", place, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"host": "images in the host's memory", "disk": "images read from their file"}[place] in done.stderr
    assert "images on the device" in finished[1].stderr
    assert differing(weights(only_run(tmp_path)), weights(only_run(finished[0]))) == []


def test_several_seeds_in_one_call(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as each of several has; other numbers of threads round otherwise
    flags = [*TOY, "--data_dir", data_dir, "--steps", 4]
    done = trainer(*flags, "--seed", 5, 6, "--label_seed", 7, 8, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr  # the moves of a cursor, which a file has not
    configs = [json.loads(path.read_text())["settings"] for path in tmp_path.glob("train_dir/*/config.json")]
    assert sorted((c["seed"], c["label_seed"]) for c in configs) == [(5, 7), (6, 8)]
    right = [1 - int(m[1]) / int(m[2]) for m in re.finditer(r"\((\d+) of (\d+) wrong", done.stdout)]
    assert f"test accuracy {50 * sum(right):.2f} ± {100 * np.std(right, ddof=1):.2f} % " in done.stdout
    told, = tmp_path.glob("train_dir/seeds-*.json")
    assert done.stdout.splitlines()[-1] == str(told.relative_to(tmp_path))
    written = json.loads(told.read_text())
    assert (written["n"], sorted(run["accuracy"] for run in written["runs"])) == (2, pytest.approx(sorted(right)))
    assert (written["mean"], written["standard_deviation"]) == pytest.approx((np.mean(right), np.std(right, ddof=1)))
    for run, pair in zip(written["runs"], ((5, 7), (6, 8)), strict=True):
        config = json.loads((tmp_path / "train_dir" / run["run"] / "config.json").read_text())["settings"]
        assert (config["seed"], config["label_seed"]) == pair
    alone = trainer(*flags, "--seed", 6, "--label_seed", 8, "--train_dir", "alone", cwd=tmp_path)
    assert alone.returncode == 0
    together, = tmp_path.glob("train_dir/*_8_seed6-*")
    assert differing(weights(together), weights(next((tmp_path / "alone").iterdir()))) == []


def test_an_interrupt_stops_all_seeds_and_loses_nothing(data_dir, tmp_path):
    done = interrupted(*TOY, "--data_dir", data_dir, "--steps", 100000, "--seed", 1, 2, cwd=tmp_path)
    assert done.returncode == 130
    assert all(state.checkpoints(run) for run in (tmp_path / "train_dir").iterdir())


def test_resume_drops_what_lies_past_the_checkpoint(finished, tmp_path, data_dir):
    done = trainer(*TOY, "--data_dir", data_dir, "--steps", 20, "--log_every", 5, cwd=tmp_path)
    assert done.returncode == 0
    run = only_run(tmp_path)
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 25, "loss/d_loss": 1.0}\n{"step": 30, "lo')
    more = trainer("--checkpoint", "train_dir", "--steps", 24, cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert max(line["step"] for line in read_metrics(run)) == 24


def test_another_run_is_not_gone_on_with(finished, data_dir, tmp_path):
    folder, _ = finished
    run = only_run(folder)
    for argv, message in ((["--labels", "12"], "--labels 12"), (["--recipe", "ssgan"], "--recipe ssgan")):
        done = trainer("--checkpoint", run, *argv, cwd=folder)
        assert done.returncode == 2
        assert message in done.stderr
    done = trainer("--checkpoint", run, "--steps", 30, cwd=folder)
    assert done.returncode == 2
    assert "already" in done.stderr
    done = trainer("--checkpoint", run / "model-20.pt", cwd=folder)
    assert done.returncode == 2
    assert "not the newest" in done.stderr


def test_going_on_with_a_finished_run_changes_nothing(finished):
    folder, first = finished
    before = weights(only_run(folder))
    again = trainer("--checkpoint", "train_dir", cwd=folder)
    assert again.returncode == 0
    assert again.stdout.splitlines()[0] == first.stdout.splitlines()[0]
    assert differing(weights(only_run(folder)), before) == []


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_dry_run_prints_the_settings_and_writes_nothing(recipe, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = TOY[:2] + TOY[4:] if not recipes.find(recipe).classifies else TOY  # without --labels
    asked = [*flags, "--recipe", recipe, "--data_dir", str(data_dir), "--steps", "30", "--dry-run"]
    assert script.main(asked) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["steps"], shown["batch_size"], shown["recipe"], shown["data"]) == (30, 8, recipe, "device")
    own = recipes.defaults(recipes.find(recipe), datasets.spec("Grey8", data_dir))
    assert shown.keys() == {field.name for field in dataclasses.fields(own)} - set(ACTIONS)
    assert (shown["model"], shown["epochs"] >= 3) == (own.model, True)
    assert shown["learning_rate_d"] == own.learning_rate_d
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_a_partly_labelled_set_needs_no_more_flags(recipe, tmp_path, capsys):
    arrays = toy_arrays((8, 8, 1))  # 80 images for training
    hidden = arrays._replace(train_label=np.where(np.arange(80) < 40, arrays.train_label, -1))
    h5.write(datasets.path("half", tmp_path), hidden, "half", tuple("abcd"), "made by the tests")
    asked = ["--dataset", "half", "--data_dir", str(tmp_path), "--recipe", recipe, "--dry-run"]
    fewest = int(np.bincount(arrays.train_label[:40]).min())
    classifies = recipes.find(recipe).classifies
    for more in ([], ["--select", "validation"]) if classifies else ([],):
        assert script.main([*asked, "--epochs", "3", *more]) == 0
        shown = json.loads(capsys.readouterr().out)
        whole = shown["select"] == "last"
        assert shown["labels"] == (4 * int(fewest * (1 if whole else 0.8)) if classifies else 0)
        assert (shown["validation"] == 0) == whole
        assert shown["batch_size"] <= 80 - shown["validation"]
        assert shown["steps"] == 3 * ((80 - shown["validation"]) // shown["batch_size"])


def test_dry_run_of_several_seeds_prints_a_list(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert script.main([*TOY, "--data_dir", str(data_dir), "--seed", "3", "4", "--dry-run"]) == 0
    assert [shown["seed"] for shown in json.loads(capsys.readouterr().out)] == [3, 4]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_help_shows_every_setting_of_the_recipe(recipe, capsys):
    with pytest.raises(SystemExit):
        script.main(["--help", "--dataset", "mnist", "--recipe", recipe])
    text = capsys.readouterr().out
    for field in dataclasses.fields(recipes.find(recipe).settings):
        assert re.search(rf"--(no_)?{field.name}\b", text), field.name


def test_help_shows_what_the_recipe_and_data_set_would_use(tmp_path):
    shown = {}
    for recipe in ("improved-gan", "ssgan"):
        text = trainer("--help", "--dataset", "svhn", "--recipe", recipe, cwd=tmp_path).stdout
        shown[recipe] = re.sub(r"[\s│]+", " ", text)
    assert "(default: conv-small)" in shown["improved-gan"]
    assert "(default: 1000)" in shown["improved-gan"]
    assert "(default: 900.0)" in shown["improved-gan"]
    assert "--update_rate" in shown["ssgan"]
    assert "--update_rate" not in shown["improved-gan"]
