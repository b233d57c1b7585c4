"""Checkpoints: whole or not there, and never executed."""
import copy
import os
import pickle

import pytest
import torch

from config import UserError
from engine import command, state
from engine import run as engine_run
from tests.mirror import mounted


@pytest.fixture
def run(build):
    return build("supervised")


def save(run, folder, step, keep=9):
    run.state.step = step
    return state.save(run.state.state_dict(), engine_run.record(run), folder, keep)


def test_newest_is_by_number_and_old_ones_go(run, tmp_path):
    for step in (5, 90, 100):
        save(run, tmp_path, step, keep=2)
    assert [p.name for p in state.checkpoints(tmp_path)] == ["model-90.pt", "model-100.pt"]
    assert state.find(tmp_path).name == "model-100.pt"
    assert state.find(tmp_path / "model-90.pt").name == "model-90.pt"


def test_holds_everything_as_plain_values(run, tmp_path):
    saved = state.load(save(run, tmp_path, 3))
    assert saved.keys() == state.KEYS
    assert saved["settings"]["labels"] == 8
    assert saved["labelled"].tolist() == run.pipeline.split.labelled.tolist()
    assert saved["data"]["digest"] == run.data.digest


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"format": 2, "step": Evil(tmp_path / "ran")}, tmp_path / "model-1.pt")
    (tmp_path / "model-2.pt").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    for step in (1, 2):
        with pytest.raises(UserError, match="not a whole checkpoint"):
            state.load(tmp_path / f"model-{step}.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_a_truncated_file_is_refused(run, tmp_path, keep):
    path = save(run, tmp_path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(UserError, match="not a whole checkpoint") as error:
        state.load(path)
    assert len(str(error.value).splitlines()) == 1
    assert "name another" in str(error.value)
    path.rename(tmp_path / "model-7.pt")
    save(run, tmp_path, 3)
    with pytest.raises(UserError, match=r"model-7\.pt.*delete it, and the run goes on from the one before"):
        state.load(tmp_path / "model-7.pt")


def test_another_format_is_refused(run, tmp_path):
    for content in ({"format": 99}, [1], {"step": 1}):
        torch.save(content, tmp_path / "model-1.pt")
        with pytest.raises(UserError, match="not a checkpoint of format 4"):
            state.load(tmp_path / "model-1.pt")


def test_of_a_folder_of_runs_the_checkpoint_written_last_is_found(run, tmp_path):
    for name, step, written in (("a", 9, 300), ("b", 5, 500), ("c", 7, 400)):
        (tmp_path / name).mkdir()
        os.utime(save(run, tmp_path / name, step), (written, written))
    assert state.find(tmp_path) == tmp_path / "b" / "model-5.pt"


def test_rates_are_shares_of_each_players_full_one(build):
    both = build("improved-gan", learning_rate_d=0.02, learning_rate_g=0.01).state
    for factor in (1.0, 0.5, 0.25):
        both.set_rates(factor)
        rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in both.optimisers.items()}
        assert rates == {"D": 0.02 * factor, "G": 0.01 * factor}


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(UserError, match=r"holds no model-<step>\.pt"):
        state.find(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        state.find(tmp_path / "nowhere")


def test_a_full_disk_leaves_no_half_checkpoint(run, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "1m"):
        with pytest.raises(UserError, match=r"cannot be written \((No space left on|the disk took only)"):
            save(run, disk, 3)
        assert list(disk.iterdir()) == []


def test_the_average_is_the_same_with_its_rate_on_the_device(build):
    run = build("mean-teacher", "Colour16")
    plain, capturable = (state.State(copy.deepcopy(run.state.nets), run.players, 0.9, kind) for kind in (False, True))
    for update in (1, 2, 3):
        for s in (plain, capturable):
            torch.manual_seed(update)
            with torch.no_grad():
                for p in s.nets["D"].parameters():
                    p.add_(torch.randn_like(p))
            s.set_average_rate(update)
            s.update_average()
    torch.testing.assert_close(plain.averaged.state_dict(), capturable.averaged.state_dict())
    assert not torch.equal(plain.averaged.head.bias, plain.nets["D"].head.bias)


def test_a_fault_of_ours_is_not_called_one_of_the_checkpoint(run, tmp_path, monkeypatch):
    path = save(run, tmp_path, 3)

    def broken(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(engine_run, "Pipeline", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        command.resumed(path, [])
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "optimisers": {}}, path)
    monkeypatch.undo()
    with pytest.raises(UserError, match="its contents do not fit this version"):
        command.resumed(path, [])
