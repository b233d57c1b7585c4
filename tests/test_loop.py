"""The loop and what it leaves in its folder, where something comes between."""
import sys

import pytest

from config import UserError
from engine import command, log, loop, start, state


@pytest.fixture
def stopped(build):
    """The folder of a run of 6 steps that was stopped after 2, and the flags to go on with it."""
    training = start.in_new_folder(build("supervised", save_every=1, eval_every=3))
    for _ in training.steps():
        training.stop = training.state.step == 2
    return training.folder, ["--checkpoint", str(training.folder)]


def gone_on(words):
    run, path = command.asked(words)
    return start.prepare(run, path)


def test_what_is_changed_is_kept_without_a_step(stopped):
    folder, again = stopped
    longer = gone_on([*again, "--steps", "9"])
    longer.stop = True
    assert loop.train([longer]) == [None]
    assert longer.hint().startswith("stopped at step 2")
    assert state.load(state.find(folder))["settings"]["steps"] == 9
    last = gone_on(again)
    assert last.saved_at == 2  # nothing new to save
    assert loop.train([last]) == [None]
    assert last.state.step == 9


def test_a_run_that_was_gone_on_with_meanwhile_keeps_its_curves(stopped):
    folder, again = stopped
    run, path = command.asked(again)
    assert loop.train([gone_on(again)]) == [None]
    curves = (folder / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match="another process has trained this run further; run the command again"):
        start.prepare(run, path)
    assert (folder / "metrics.jsonl").read_text() == curves


def test_of_two_that_open_one_log_one_goes_on(stopped, monkeypatch):
    """The other locks a file that has been replaced since it was opened."""
    folder, again = stopped
    run, path = command.asked(again)
    hold = log.files.hold

    def late(file, busy):
        monkeypatch.setattr(log.files, "hold", hold)
        log.Log(folder, run.cfg, 2, path).close()
        hold(file, busy)

    monkeypatch.setattr(log.files, "hold", late)
    with pytest.raises(UserError, match="another process trains this run"):
        start.prepare(run, path)


def test_a_checkpoint_that_was_renamed_is_gone_on_with(stopped):
    folder, again = stopped
    (folder / "model-2.pt").rename(folder / "model-5.pt")
    assert loop.train([gone_on(again)]) == [None]


def test_a_length_under_which_no_step_was_made_is_forgotten(stopped):
    folder, again = stopped
    for steps, before in (("9", [6]), ("6", []), ("8", [6])):
        training = gone_on([*again, "--steps", steps])
        training.stop = True
        assert loop.train([training]) == [None]
        assert [entry["steps_before"] for entry in state.load(state.find(folder))["resumed"]] == before


class Unread:
    """Standard error whose reader has gone away."""

    encoding = "utf-8"

    def isatty(self):
        return False

    def write(self, *_):
        raise BrokenPipeError

    flush = fileno = write


def test_a_training_goes_on_where_nobody_reads_what_it_says(stopped, monkeypatch):
    folder, again = stopped
    monkeypatch.setattr(sys, "stderr", Unread())
    assert loop.train([gone_on(again)]) == [None]
    monkeypatch.undo()
    assert [path.name for path in state.checkpoints(folder)][-1] == "model-6.pt"
