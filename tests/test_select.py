"""--select validation: the checkpoint that is best on validation images is kept, evaluated and named."""
import json

import numpy as np
import pytest
import torch

import evaler
import trainer
from config import UserError
from engine import evaluate, generated, report, restore, state, use
from engine.run import held_out
from tests.runs import TOY, differing, evaluated, only_run, weights

EVERY = ("--validation", "20", "--select", "validation", "--eval_every", "2", "--save_every", "6", "--keep", "1")
WRONG = [9, 5, 5, 7, 6, 8]  # validation images, at steps 2, 4, ...


@pytest.fixture
def train(data_dir, tmp_path, monkeypatch, capsys):
    """train(folder, *flags): the trainer with those numbers of wrong validation images; what it printed."""
    monkeypatch.setattr(use, "draw", lambda *args: [])
    real, counts = evaluate.errors, {"step": 0}

    def errors(D, images, labels, device):
        if len(labels) != 20:
            return real(D, images, labels, device)
        counts["step"] += 1
        return WRONG[counts["step"] - 1]

    def run(folder, *flags):
        counts["step"] = 0 if "--checkpoint" not in flags else 3
        monkeypatch.setattr(evaluate, "errors", errors)
        new = [*TOY, *EVERY, "--train_dir", str(tmp_path / folder / "train_dir")] if counts["step"] == 0 else []
        assert trainer.main([*new, "--data_dir", str(data_dir), *flags]) == 0
        monkeypatch.setattr(evaluate, "errors", real)
        return capsys.readouterr().out

    return run


def test_the_best_is_kept_evaluated_and_named(train, tmp_path, capsys):
    said = train("one", "--steps", "12")
    run = only_run(tmp_path / "one")
    assert [path.name for path in state.checkpoints(run)] == ["model-4.pt", "model-12.pt"]
    found = evaluated(run)
    assert (found["step"], found["steps"], found["checkpoint"]) == (4, 12, "model-4.pt")
    assert found["selection"] == ("best on validation, step 4 (75.00% of 20 images right), "
                                  "no selection on test images")
    assert found["selection"] in capsys.readouterr().out
    steps, accuracies = report.curves(run)["accuracy/test"]
    assert found["accuracy"] == accuracies[steps.index(4)]
    assert f"test accuracy {found['accuracy']:.2%} ({found['errors']} of 40 wrong; averaged weights of step 4), " \
        "best on validation" in said
    named = evaluated(run / "model-4.pt")
    assert (named["step"], named["selection"]) == (4, "checkpoint of step 4 of 12, no selection on test images")
    assert evaluated(run / "model-12.pt")["selection"] == "last checkpoint, no selection on test images"
    said = train("one", "--checkpoint", str(run))  # a finished run: no step is made
    assert f"{found['errors']} of 40 wrong; averaged weights of step 4), best on validation" in said


def test_the_best_judges_generated_images(train, data_dir, tmp_path):
    train("one", "--steps", "12")
    best = only_run(tmp_path / "one")
    other = state.load(best / "model-12.pt")
    run = restore.run(other, best / "model-12.pt", data_dir)
    judge = generated.scorer(str(best), run, tmp_path / "elsewhere" / "model-1.pt", str(data_dir), "cpu")
    kept = state.load(best / "model-4.pt")["averaged"]
    assert all(torch.equal(kept[name], value) for name, value in judge.averaged.state_dict().items())


def test_resume_keeps_the_best(train, tmp_path):
    train("whole", "--steps", "12")
    train("half", "--steps", "6")
    run = only_run(tmp_path / "half")
    assert [path.name for path in state.checkpoints(run)] == ["model-4.pt", "model-6.pt"]
    train("half", "--checkpoint", str(run), "--steps", "12")
    assert [path.name for path in state.checkpoints(run)] == ["model-4.pt", "model-12.pt"]
    saved, expected = (state.load(state.find(folder))["best"] for folder in (run, only_run(tmp_path / "whole")))
    assert saved == expected == {"step": 4, "accuracy": 0.75, "test_errors": expected["test_errors"]}
    ours, theirs = (folder / "model-4.pt" for folder in (run, only_run(tmp_path / "whole")))
    assert differing(weights(ours), weights(theirs)) == []


def test_a_best_checkpoint_that_is_gone_is_told(train, tmp_path):
    train("one", "--steps", "12")
    run = only_run(tmp_path / "one")
    (run / "model-4.pt").unlink()
    with pytest.raises(UserError, match=r"model-4.pt: the checkpoint that is best on validation is gone"):
        evaler.main(["--checkpoint", str(run)])


def test_the_baseline_counts_as_it_was_selected(train, tmp_path):
    train("one", "--steps", "12")
    said = train("one", "--steps", "12", "--recipe", "supervised", "--prefix", "alone")
    gan = next((tmp_path / "one" / "train_dir").glob("default-*"))
    beside = evaluated(gan)["supervised_baseline"]
    assert beside["steps"] == 4
    assert report.share_right(said) == beside["accuracy"]
    alone = next((tmp_path / "one" / "train_dir").glob("alone-*"))
    steps, accuracies = report.curves(alone)["accuracy/test"]
    assert beside["accuracy"] == accuracies[steps.index(4)]
    assert json.loads((alone / "config.json").read_text())["settings"]["select"] == "validation"


@pytest.mark.parametrize(("select", "asked", "images", "labelled", "count"), [
    ("last", 0, 500, 500, 0), ("validation", 7, 500, 500, 7), ("validation", 0, 500, 500, 100),
    ("validation", 0, 9000, 9000, 1000), ("validation", 0, 500, 130, 30)])
def test_how_many_validation_images(select, asked, images, labelled, count, settings):
    cfg = settings(select=select, validation=asked, labels=100)
    labels = np.where(np.arange(images) < labelled, 0, -1)
    assert held_out(cfg, labels, 100).validation == count


def test_no_image_left_for_validation_is_told(settings):
    with pytest.raises(UserError, match=r"--select validation: no training image with a label is left beside the 8"):
        held_out(settings(select="validation"), np.array([0] * 8 + [-1] * 90), 8)
