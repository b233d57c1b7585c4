"""What trainer.py refuses or stops at: a message, and nothing half written."""
import shutil
from concurrent.futures import wait

import pytest
import torch

import datasets
from datasets import h5
from engine import start, state
from tests.conftest import toy_arrays
from tests.mirror import mounted
from tests.runs import TOY, only_run, trainer

BAD = {
    "unknown data set": (["--dataset", "MNISTT"], "did you mean MNIST"),
    "unknown recipe": (["--recipe", "improved-gam"], "did you mean improved-gan"),
    "unknown model": (["--model", "mpl"], "did you mean mlp"),
    "unknown flag": (["--lables", "8"], "Did you mean --labels"),
    "flag of another recipe": (["--n_z", "5"], "--n_z: a flag of --recipe dcgan or ssgan, not of improved-gan"),
    "labels where none are used": (["--recipe", "dcgan"], "--labels 8: --recipe dcgan uses no labels"),
    "rows where none are used": (["--recipe", "dcgan", "--labelled", "all"],
                                 "--labelled all: --recipe dcgan uses no labels"),
    "a warp of no second pass": (["--warp", "0.2"], "--warp 0.2: it is of the second pass"),
    "epochs without end": (["--epochs", "1e9"], "--epochs 1e+09: these are 10000000000 steps"),
    "an update without end": (["--recipe", "ssgan", "--update_rate", "99999"], "--update_rate 99999: must be from 1"),
    "threads without end": (["--threads", "100000"], "--threads 100000: must be from 0 to 1024"),
    "a warp of points": (["--dataset", "Circles", "--consistency", "1", "--warp", "0.2"],
                         "--warp 0.2: the images of Circles are points"),
    "selection by no accuracy": (["--recipe", "pixelcnn", "--labels", "0", "--select", "validation"],
                                 "--select validation: --recipe pixelcnn has no classifier"),
    "a net beyond all memory": (["--recipe", "pixelcnn", "--labels", "0", "--filters", "1000000000"],
                                "--filters 1000000000: must be from 1 to 4096"),
    "no number": (["--labels", "abc"], "--labels: not a whole number: 'abc'"),
    "seeds that do not pair": (["--seed", "1", "2", "--label_seed", "1", "2", "3"], "--seed 1 2: 2 values beside 3"),
    "one of the seeds": (["--seed", "1", "x"], "--seed: not a whole number: 'x'"),
    "embedded set on disk": (["--dataset", "Digits", "--labels", "10", "--data", "disk"], "--data disk: Digits"),
    "unknown term": (["--weight", "D/reel=1"], "D/supervised"),
    "weight of no number": (["--weight", "D/real=x"], "TERM=NUMBER"),
    "a word without a flag": (["foo"], "foo: belongs to no flag"),
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
    "two numbers of labels": (["--labels", "8", "--labelled", "all"], "--labels --labelled: both say how many"),
    "two lengths": (["--epochs", "3", "--steps", "30"], "--steps --epochs: both say how long"),
    "a setting of another model": (["--recipe", "ssgan", "--norm_type", "none"],
                                   "--norm_type none: --model mlp has no such setting"),
    "labels that nothing looks at": (["--recipe", "pixelcnn", "--label_seed", "2", "--labels", "0"],
                                     "--label_seed 2: --recipe pixelcnn uses no labels"),
    "seeds that choose nothing": (["--label_seed", "1", "2", "--labelled", "all"], "--label_seed: each chooses the"),
    "points in a mirror": (["--dataset", "Circles", "--flip", "--labels", "6"], "--flip: the images of Circles are"),
    "no density": (["--recipe", "bad-gan", "--low_density", "1"], "--low_density 1.0: needs a density model"),
    "nan": (["--learning_rate_d", "nan"], "--learning_rate_d nan"),
    "device that is not there": (["--device", "cuda:99"], "--device cuda:99"),
    "device of no kind": (["--device", "tpu"], "--device tpu"),
    "no checkpoint": (["--checkpoint", "nowhere"], "nowhere: no such file"),
    "train_dir in a file": (["--train_dir", "file/in"], "--train_dir file/in"),
    "train_dir of no text": (["--train_dir", "c\udcff"], "is no name in UTF-8"),
    "set not downloaded": (["--dataset", "SVHN", "--labels", "1000"], "download.py --dataset SVHN"),
    "model that does not fit": (["--model", "dcgan"], "--model dcgan takes"),
    "validation too large": (["--validation", "80"], "--validation 80"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_in_two_lines_and_leaves_nothing(case, data_dir, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    argv, message = BAD[case]
    usual = dict(zip(TOY[::2], TOY[1::2], strict=True)) | {"--data_dir": data_dir, "--steps": 3}
    instead = {"--labels": "--labelled", "--steps": "--epochs"}
    if case != "a flag twice":
        usual = {flag: value for flag, value in usual.items() if not {flag, instead.get(flag)} & {*argv}}
    done = trainer(*(word for pair in usual.items() for word in pair), *argv, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(data_dir, tmp_path):
    # In float32: bfloat16 products of processors with AMX carry a NaN into the row before it, here of a real image.
    done = trainer(*TOY, "--data_dir", data_dir, "--steps", 40, "--save_every", 5, "--precision", "float32",
                   cwd=tmp_path)
    assert done.returncode == 0
    run = only_run(tmp_path)
    path = state.find(run)
    saved = torch.load(path, weights_only=True)
    saved["nets"]["G"]["hidden.0.weight"][0, 0] = float("nan")
    saved["step"] = 20
    for old in state.checkpoints(run):
        old.unlink()
    torch.save(saved, path.with_name("model-20.pt"))
    done = trainer("--checkpoint", run, cwd=tmp_path)
    assert done.returncode == 2
    assert "loss D/fake is not finite at step 21" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in state.checkpoints(run)] == ["model-20.pt"]


def test_a_weight_that_stops_moving_stops_the_run(data_dir, tmp_path):
    """The squares of its gradients are beyond what float32 holds; every loss is finite."""
    done = trainer(*TOY, "--data_dir", data_dir, "--steps", 6, "--weight", "D/supervised=1e25", cwd=tmp_path)
    assert done.returncode == 2
    assert "a moment of an optimiser, so that its weight no longer moves, is not finite at step 6" in done.stderr
    assert not state.checkpoints(only_run(tmp_path))


def test_other_images_under_the_same_name_are_refused(data_dir, tmp_path):
    mine = tmp_path / "data"
    h5.write(datasets.path("Grey8", mine), toy_arrays((8, 8, 1)), "Grey8", tuple("abcd"), "first")
    assert trainer(*TOY, "--data_dir", mine, "--steps", 2, cwd=tmp_path).returncode == 0
    datasets.path("Grey8", mine).unlink()
    h5.write(datasets.path("Grey8", mine), toy_arrays((8, 8, 1), seed=1), "Grey8", tuple("abcd"), "second")
    done = trainer("--checkpoint", only_run(tmp_path), "--steps", 4, cwd=tmp_path)
    assert done.returncode == 2
    assert "not those of the checkpoint" in done.stderr


@pytest.mark.parametrize(("size", "found"), [("4m", "cannot be written"), ("28k", "No space left on device"),
                                             ("36k", "No space left on device")])  # under TensorBoard's thread
def test_a_disk_that_fills_up_stops_the_run_in_one_line(size, found, data_dir, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, size):
        done = trainer(*TOY, "--data_dir", data_dir, "--steps", 20, "--train_dir", disk, cwd=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert found in done.stderr
        assert not list(disk.glob("*/*.tmp"))


@pytest.mark.parametrize(("flags", "last"), [
    (["--steps", "60", "--sample_every", "1", "--save_every", "60"], "model-2.pt"),  # long before its end
    (["--steps", "4"], "model-4.pt")])  # the picture of the last step does not take the checkpoint with it
def test_a_picture_that_cannot_be_written_stops_the_run(flags, last, data_dir, tmp_path):
    assert trainer(*TOY, "--data_dir", data_dir, "--steps", 2, cwd=tmp_path).returncode == 0
    pictures = only_run(tmp_path) / "samples"
    shutil.rmtree(pictures)
    pictures.write_text("")
    done = trainer("--checkpoint", only_run(tmp_path), *flags, cwd=tmp_path)
    assert done.returncode == 2
    assert "samples" in done.stderr
    assert "Traceback" not in done.stderr
    assert state.checkpoints(only_run(tmp_path))[-1].name == last


def test_a_failed_picture_takes_no_checkpoint_with_it(build):
    training = start.in_new_folder(build())
    (training.folder / "samples").write_text("")
    training._pictures()
    wait(training.writer.jobs)
    with pytest.raises(OSError, match="samples"):
        training._save()
    training.close()
    assert state.checkpoints(training.folder)


def test_a_compiler_that_is_missing_is_named_and_leaves_nothing(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/bin/false")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    done = trainer(*TOY, "--data_dir", data_dir, "--steps", 2, "--compile", cwd=tmp_path)
    assert done.returncode == 2
    assert "--compile: torch.compile failed (InvalidCxxCompiler" in done.stderr
    assert not list((tmp_path / "train_dir").iterdir())
    assert "Traceback" not in done.stderr
