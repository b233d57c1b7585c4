"""What evaler.py cannot evaluate: a message, and nothing written."""
import os
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import evaler
from config import guarded
from tests.conftest import write_odd
from tests.runs import edit


def refused(monkeypatch, capsys, *flags):
    """The message of an evaluation that must end with status 2 and write nothing."""
    before = sorted(Path().rglob("*"))
    monkeypatch.setattr(sys, "argv", ["evaler.py", *map(str, flags)])
    with warnings.catch_warnings(record=True, action="always") as warned, pytest.raises(SystemExit) as stop:
        guarded(evaler.main)
    assert not warned  # they would be lines on stderr, too
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert 1 <= len(err.splitlines()) <= 2
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before
    return err


@pytest.mark.parametrize("flags", [
    [], ["--checkpoint"], ["--checkpoint", "nowhere"], ["--checkpoint", "runs/model-1.pt"],
    ["--checkpoint", "datasets"], ["--checkpoint", ""], ["--chekpoint", "runs"],
], ids=str)
def test_no_such_checkpoint(runs, monkeypatch, capsys, flags):
    assert "checkpoint" in refused(monkeypatch, capsys, *flags)


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:1000], lambda data: data[:-1000], lambda data: data[:len(data) // 2],
    lambda data: np.random.default_rng(0).bytes(5000), lambda data: b"PK\x03\x04" + bytes(3000),
], ids=["empty", "start", "truncated", "half", "random", "zip"])
def test_damaged_file(runs, monkeypatch, capsys, damage):
    path = runs["gan"] / "model-30.pt"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(damage(data))
    assert "model-30.pt" in refused(monkeypatch, capsys, "--checkpoint", runs["gan"])


class Code:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("dump", [lambda path: torch.save({"format": 2, "settings": Code()}, path),
                                  lambda path: path.write_bytes(pickle.dumps(Code()))], ids=["torch", "pickle"])
def test_code_in_a_file_is_not_executed(runs, monkeypatch, capsys, dump):
    (runs["gan"] / "model-30.pt").unlink()
    dump(runs["gan"] / "model-30.pt")
    refused(monkeypatch, capsys, "--checkpoint", runs["gan"])
    assert not Path("executed").exists()


@pytest.mark.parametrize("change", [
    lambda saved: saved.pop("averaged"),
    lambda saved: saved.pop("settings"),
    lambda saved: saved["settings"].pop("recipe"),
    lambda saved: saved["settings"].pop("seed"),
    lambda saved: saved["settings"].update(recipe="unknown"),
    lambda saved: saved["settings"].update(model="conv-small"),
    lambda saved: saved["settings"].update(head="explicit"),
    lambda saved: saved["settings"].update(steps="many"),
    lambda saved: saved.update(settings=None),
    lambda saved: saved["nets"].pop("G"),
    lambda saved: saved["averaged"].popitem(),
    lambda saved: saved["nets"]["D"].update(extra=torch.zeros(1)),
    lambda saved: saved["averaged"].update({next(iter(saved["averaged"])): torch.zeros(2, 2)}),
    lambda saved: saved.update(averaged=None),
    lambda saved: saved["data"].pop("digest"),
    lambda saved: saved["labels"].zero_(),
    lambda saved: saved["labelled"].add_(1),
    lambda saved: saved.update(labelled_digest=5),
    lambda saved: saved.update(labels=None),
    lambda saved: saved.update(format=0),
    lambda saved: next(iter(saved["averaged"].values())).fill_(torch.nan),
    lambda saved: next(iter(saved["nets"]["D"].values())).view(-1)[0].fill_(torch.inf),
    lambda saved: next(iter(saved["nets"]["G"].values())).fill_(torch.nan),
])
def test_checkpoint_that_does_not_fit(runs, monkeypatch, capsys, change):
    edit(runs["gan"] / "model-30.pt", change)
    refused(monkeypatch, capsys, "--checkpoint", runs["gan"])


def test_missing_data_set(runs, monkeypatch, capsys):
    Path("none").mkdir()
    assert "toy" in refused(monkeypatch, capsys, "--checkpoint", runs["toy"], "--data_dir", "none")
    edit(runs["gan"] / "model-30.pt", lambda saved: saved["settings"].update(dataset="MNIST"))
    message = refused(monkeypatch, capsys, "--checkpoint", runs["gan"], "--data_dir", "none")
    assert "download.py --dataset MNIST" in message


@pytest.mark.parametrize(("other", "said"), [
    ({"shape": (10, 8, 1)}, ["10 x 8 x 1", "8 x 8 x 1"]), ({"shape": (8, 8, 3)}, ["8 x 8 x 3", "8 x 8 x 1"]),
    ({"classes": 2}, ["2 classes", "3 classes"]), ({"seed": 1}, ["digest"])])
def test_other_data_set(runs, monkeypatch, capsys, other, said):
    saved = torch.load(runs["toy"] / "model-2.pt", weights_only=True)
    data = write_odd("other", **other)
    message = refused(monkeypatch, capsys, "--checkpoint", runs["toy"], "--data_dir", "other")
    assert all(text in message for text in said)
    if "seed" in other:
        assert data.digest[:12] in message
        assert saved["data"]["digest"][:12] in message


def test_damaged_data_set(runs, monkeypatch, capsys):
    path = Path("datasets/toy/data.h5")
    path.write_bytes(path.read_bytes()[:-50])
    refused(monkeypatch, capsys, "--checkpoint", runs["toy"], "--data_dir", "datasets")


@pytest.mark.parametrize("name", ["gpu", "cuda:77", "cpu:x:y"])
def test_unknown_device(runs, monkeypatch, capsys, name):
    assert "--device" in refused(monkeypatch, capsys, "--checkpoint", runs["gan"], "--device", name)


def test_folder_that_cannot_be_written(runs, monkeypatch, capsys):
    (runs["gan"] / "eval").write_text("a file in the way")
    assert "eval.json" in refused(monkeypatch, capsys, "--checkpoint", runs["gan"])
