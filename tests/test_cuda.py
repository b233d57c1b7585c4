"""What must hold of every recipe on a GPU."""
import pytest
import torch

from engine import run as engine_run
from engine import state
from tests.steps import scheduled_steps, steps
from tests.test_recipes import every_case

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@every_case
def test_on_cuda_it_trains_as_on_the_cpu(recipe, toy, options, build):
    cpu, cuda = (build(recipe, toy, **options, device=device) for device in ("cpu", "cuda"))
    losses = torch.tensor(steps(cuda, 5))
    assert losses.isfinite().all()
    assert losses[0, 0].item() == pytest.approx(steps(cpu, 1)[0][0], rel=0.5)


@every_case
def test_a_cuda_graph_does_what_it_recorded(recipe, toy, options, build, tmp_path, capsys):
    changing = {**options, "device": "cuda", "precision": "float32", "decay_from": 0.3, "steps": 12, "shift": 1}
    graph, eager = (build(recipe, toy, graph=graph, **changing) for graph in (True, False))
    seen, expected = (torch.tensor(scheduled_steps(run, 12)) for run in (graph, eager))
    assert "cannot be recorded" not in capsys.readouterr().err
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)
    half = build(recipe, toy, **changing)
    scheduled_steps(half, 6)
    path = state.save(half.state.state_dict(), engine_run.record(half), tmp_path, keep=1)
    resumed = engine_run.build(half.cfg, state.load(path))
    torch.testing.assert_close(torch.tensor(scheduled_steps(resumed, 6)), expected[6:], rtol=1e-4, atol=1e-5)


@every_case
def test_a_step_on_cuda_reads_nothing_back(recipe, toy, options, build):
    run = build(recipe, toy, device="cuda", graph=False, **options)
    steps(run, 2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("place", ["host", "disk"])
def test_on_cuda_images_from_elsewhere_are_the_same(place, build):
    resident, streamed = (build(device="cuda", precision="float32", data=where) for where in ("device", place))
    for position in range(12):  # past an epoch
        for ours, theirs in zip(*(run.pipeline.fetch(0, position) for run in (resident, streamed)), strict=True):
            assert torch.equal(ours, theirs)
    torch.testing.assert_close(torch.tensor(steps(streamed, 5)), torch.tensor(steps(resident, 5)))
