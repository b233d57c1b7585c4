"""trainer.py as a user runs it."""
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import datasets
from datasets import h5
from engine import state
from engine.log import read_metrics
from tests.conftest import ROOT, toy_arrays
from tests.mirror import mounted


def only_run(folder):
    """The one run folder under folder/train_dir."""
    (run,) = (folder / "train_dir").iterdir()
    return run


def trainer(*argv, cwd):
    return subprocess.run([sys.executable, str(ROOT / "trainer.py"), *map(str, argv)], cwd=cwd, capture_output=True,
                          text=True, check=False, timeout=300)


LONG = ("--steps", "40", "--log_every", "10", "--eval_every", "20", "--keep", "9", "--validation", "8", "--prefix",
        "mine")
TOY = ("--dataset", "Grey8", "--labels", "8", "--batch_size", "8", "--device", "cpu")


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
    saved = state.load(state.find(run))
    assert saved["labelled_digest"] == facts["labelled_digest"]
    assert [int(line) for line in (run / "labelled.txt").read_text().split()] == saved["labelled"].tolist()
    assert [p.name for p in state.checkpoints(run)] == ["model-20.pt", "model-40.pt"]
    assert [p.name for p in sorted((run / "samples").iterdir())] == [f"{n:08d}.png" for n in (0, 20, 40)]
    assert f"python evaler.py --checkpoint train_dir/{run.name}" in done.stdout


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


def weights(run):
    saved = state.load(state.find(run))
    return {f"{group}.{name}": value for group in ("averaged", "nets") for name, value in (
        saved[group].items() if group == "averaged" else
        ((f"{net}.{key}", v) for net, values in saved[group].items() for key, v in values.items()))}


def test_interrupt_and_resume_is_bitwise_the_uninterrupted_run(finished, data_dir, tmp_path):
    command = [sys.executable, str(ROOT / "trainer.py"), *TOY, "--data_dir", str(data_dir), *LONG]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(3000):
        if any(metrics.stat().st_size for metrics in tmp_path.glob("train_dir/*/metrics.jsonl")):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with: python trainer.py --checkpoint" in errors
    run = only_run(tmp_path)
    stopped_at = state.load(state.find(run))["step"]
    assert 10 <= stopped_at < 40
    again = trainer("--checkpoint", run, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    ours, theirs = weights(run), weights(only_run(finished[0]))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    last = [[line for line in read_metrics(folder) if "accuracy/test" in line]
            for folder in (run, only_run(finished[0]))]
    assert last[0] == last[1]


def test_a_finished_run_says_that_it_is(finished):
    done = trainer("--checkpoint", only_run(finished[0]), cwd=finished[0])
    assert done.returncode == 0
    assert "finished before, at step 40; go further with --steps" in done.stderr


@pytest.mark.parametrize("place", ["host", "disk"])
def test_the_place_of_the_images_changes_nothing(finished, data_dir, tmp_path, place):
    done = trainer(*TOY, "--data_dir", data_dir, *LONG, "--data", place, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"host": "images in the host's memory", "disk": "images read from their file"}[place] in done.stderr
    assert "images on the device" in finished[1].stderr
    ours, theirs = weights(only_run(tmp_path)), weights(only_run(finished[0]))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_several_seeds_in_one_call(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as each of several has; other numbers of threads round otherwise
    flags = [*TOY, "--data_dir", data_dir, "--steps", 4]
    done = trainer(*flags, "--seed", 5, 6, "--label_seed", 7, 8, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    configs = [json.loads(path.read_text())["settings"] for path in tmp_path.glob("train_dir/*/config.json")]
    assert sorted((c["seed"], c["label_seed"]) for c in configs) == [(5, 7), (6, 8)]
    right = [1 - int(m[1]) / int(m[2]) for m in re.finditer(r"\((\d+) of (\d+) wrong", done.stdout)]
    assert f"test accuracy {50 * sum(right):.2f} ± {100 * np.std(right, ddof=1):.2f} % " in done.stdout
    alone = trainer(*flags, "--seed", 6, "--label_seed", 8, "--train_dir", "alone", cwd=tmp_path)
    assert alone.returncode == 0
    together, = tmp_path.glob("train_dir/*_8_seed6-*")
    ours, theirs = weights(together), weights(next((tmp_path / "alone").iterdir()))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_an_interrupt_stops_all_seeds_and_loses_nothing(data_dir, tmp_path):
    command = [sys.executable, ROOT / "trainer.py", *TOY, "--data_dir", data_dir, "--steps", 100000, "--seed", 1, 2]
    process = subprocess.Popen([str(word) for word in command], cwd=tmp_path, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    for _ in range(3000):
        if any(metrics.stat().st_size for metrics in tmp_path.glob("train_dir/*/metrics.jsonl")):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
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


BAD = {
    "unknown data set": (["--dataset", "MNISTT"], "did you mean MNIST"),
    "unknown recipe": (["--recipe", "improved-gam"], "did you mean improved-gan"),
    "unknown model": (["--model", "mpl"], "did you mean mlp"),
    "unknown flag": (["--lables", "8"], "Did you mean --labels"),
    "flag of another recipe": (["--n_z", "5"], "--n_z: a flag of --recipe ssgan"),
    "no number": (["--labels", "abc"], "--labels: not a whole number: 'abc'"),
    "seeds that do not pair": (["--seed", "1", "2", "--label_seed", "1", "2", "3"], "--seed 1 2: 2 values beside 3"),
    "one of the seeds": (["--seed", "1", "x"], "--seed: not a whole number: 'x'"),
    "embedded set on disk": (["--dataset", "Digits", "--labels", "10", "--data", "disk"], "--data disk: Digits"),
    "unknown term": (["--weight", "D/reel=1"], "D/supervised"),
    "weight of no number": (["--weight", "D/real=x"], "TERM=NUMBER"),
    "too many labels": (["--labels", "800"], "--labels 800"),
    "labels not divisible": (["--labels", "9"], "multiple of the 4 classes"),
    "batch over the pool": (["--batch_size", "81"], "--batch_size 81"),
    "negative": (["--epochs", "-5"], "--epochs -5"),
    "a flag twice": (["--labels", "12"], "--labels: given twice"),
    "several seeds twice": (["--seed", "3", "--seed", "1", "2"], "--seed: given twice"),
    "a term twice": (["--weight", "D/real=0", "D/real=1"], "--weight D/real=1"),
    "batch of one": (["--batch_size", "1"], "--batch_size"),
    "empty checkpoint": (["--checkpoint", ""], "--checkpoint"),
    "absurd": (["--epochs", "1e30"], "--epochs"),
    "nan": (["--learning_rate_d", "nan"], "--learning_rate_d nan"),
    "device that is not there": (["--device", "cuda:99"], "--device cuda:99"),
    "device of no kind": (["--device", "tpu"], "--device tpu"),
    "no checkpoint": (["--checkpoint", "nowhere"], "nowhere: no such file"),
    "train_dir in a file": (["--train_dir", "file/in"], "--train_dir file/in"),
    "set not downloaded": (["--dataset", "SVHN", "--labels", "1000"], "download.py --dataset SVHN"),
    "model that does not fit": (["--model", "ssgan"], "--model ssgan takes"),
    "validation too large": (["--validation", "80"], "--validation 80"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_in_two_lines_and_leaves_nothing(case, data_dir, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    argv, message = BAD[case]
    usual = dict(zip(TOY[::2], TOY[1::2], strict=True)) | {"--data_dir": data_dir, "--steps": 3}
    if case != "a flag twice":
        usual = {flag: value for flag, value in usual.items() if flag not in argv}
    done = trainer(*(word for pair in usual.items() for word in pair), *argv, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(data_dir, tmp_path):
    done = trainer(*TOY, "--data_dir", data_dir, "--steps", 40, "--save_every", 5, cwd=tmp_path)
    assert done.returncode == 0
    run = only_run(tmp_path)
    path = state.find(run)
    saved = torch.load(path, weights_only=True)
    saved["nets"]["G"]["hidden.0.weight"][0, 0] = float("nan")
    saved["step"], saved["settings"]["steps"] = 20, 60
    for old in state.checkpoints(run):
        old.unlink()
    torch.save(saved, path.with_name("model-20.pt"))
    done = trainer("--checkpoint", run, cwd=tmp_path)
    assert done.returncode == 2
    assert "loss D/fake is not finite at step 21" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in state.checkpoints(run)] == ["model-20.pt"]


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
    after = weights(only_run(folder))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_other_images_under_the_same_name_are_refused(data_dir, tmp_path):
    mine = tmp_path / "data"
    h5.write(datasets.path("Grey8", mine), toy_arrays((8, 8, 1)), "Grey8", tuple("abcd"), "first")
    assert trainer(*TOY, "--data_dir", mine, "--steps", 2, cwd=tmp_path).returncode == 0
    datasets.path("Grey8", mine).unlink()
    h5.write(datasets.path("Grey8", mine), toy_arrays((8, 8, 1), seed=1), "Grey8", tuple("abcd"), "second")
    done = trainer("--checkpoint", only_run(tmp_path), "--steps", 4, cwd=tmp_path)
    assert done.returncode == 2
    assert "not those of the checkpoint" in done.stderr


def test_dry_run_prints_the_settings_and_writes_nothing(data_dir, tmp_path):
    done = trainer(*TOY, "--data_dir", data_dir, "--epochs", 3, "--dry-run", cwd=tmp_path)
    settings = json.loads(done.stdout)
    assert (settings["steps"], settings["batch_size"], settings["recipe"]) == (30, 8, "improved-gan")
    assert list(tmp_path.iterdir()) == []


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


def test_a_disk_that_fills_up_stops_the_run_in_one_line(data_dir, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "4m"):
        done = trainer(*TOY, "--data_dir", data_dir, "--steps", 20, "--train_dir", disk, cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "cannot be written" in done.stderr
        assert not list(disk.glob("*/*.tmp"))
