"""What must hold of every recipe on a GPU."""
import pytest
import torch

import ops
from engine import run as engine_run
from engine import state
from engine.graph import WARM_UP, Graph
from tests.steps import assert_bitwise, batch_of, scheduled_steps, steps, weights, without_noise
from tests.test_recipes import every_case

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def losses_and_gradients(run, number, batch):
    player = run.players[number]
    torch.manual_seed(0)
    terms = player.loss(run.state.seen, batch._replace(**{
        name: x.to(run.device) for name, x in batch._asdict().items() if x is not None}))
    gradients = torch.autograd.grad(sum(terms.values()), run.state.moves[player.name])
    return [x.cpu() for x in (*terms.values(), *gradients)]


@every_case
def test_losses_and_gradients_are_those_of_the_cpu(recipe, toy, options, build, monkeypatch):
    monkeypatch.setattr(ops.Pixels, "from_bytes", lambda self, x: (x.double() - self.offset) / self.divisor)
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.randn(x.shape, dtype=x.dtype).to(x.device))
    torch.set_default_dtype(torch.float64)
    try:
        cpu, cuda = (build(recipe, toy, **options, device=device) for device in ("cpu", "cuda"))
        cuda.state.load_state_dict(cpu.state.state_dict())
        for run in (cpu, cuda):
            without_noise(run)
        for number in range(len(cpu.players)):
            batch = batch_of(cpu, number)
            torch.testing.assert_close(*(losses_and_gradients(run, number, batch) for run in (cuda, cpu)),
                                       rtol=1e-6, atol=1e-6)
    finally:
        torch.set_default_dtype(torch.float32)


CHANGING = {"device": "cuda", "decay_from": 0.3, "steps": 12, "shift": 1}


@every_case
def test_a_cuda_graph_does_what_it_recorded(recipe, toy, options, build, capsys):
    graph, eager = (build(recipe, toy, graph=graph, **options, **CHANGING) for graph in (True, False))
    seen, expected = (torch.tensor(scheduled_steps(run, 12)) for run in (graph, eager))
    assert "cannot be recorded" not in capsys.readouterr().err
    assert expected.isfinite().all()
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(capsys):
    def reader(x):
        noise = torch.randn_like(x)
        return noise if noise.sum().item() < 1e9 else x

    functions = Graph(torch.randn_like, "a drawer"), Graph(reader, "a reader")
    stream, x = torch.cuda.current_stream(), torch.ones(3, device="cuda")
    for seed in range(WARM_UP + 3):
        torch.cuda.manual_seed_all(seed)
        expected = torch.randn(3, device="cuda")
        for function in functions:
            torch.cuda.manual_seed_all(seed)
            assert torch.equal(function(x), expected)
            assert torch.cuda.current_stream() == stream
    assert "a reader: cannot be recorded" in capsys.readouterr().err


@every_case
def test_on_cuda_resume_is_bitwise_the_uninterrupted_run(recipe, toy, options, build, tmp_path):
    whole, half = (build(recipe, toy, **options, **CHANGING) for _ in range(2))
    expected = scheduled_steps(whole, 12)
    scheduled_steps(half, 6)
    path = state.save(half.state.state_dict(), engine_run.record(half), tmp_path, keep=1)
    resumed = engine_run.build(half.cfg, state.load(path))
    assert scheduled_steps(resumed, 6) == expected[6:]
    assert_bitwise(weights(resumed), weights(whole))


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
    resident, streamed = (build(device="cuda", data=where) for where in ("device", place))
    for position in range(12):  # past an epoch
        ours, theirs = (run.pipeline.images(run.pipeline.fetch(0, position)) for run in (resident, streamed))
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert steps(streamed, 5) == steps(resident, 5)


def test_a_compiled_step_is_the_step(build):
    """On a GPU the optimisers and the average are compiled, too."""
    eager, compiled = (build(device="cuda", precision="float32", compile=how) for how in (False, True))
    assert compiled.state.toward is not state.toward
    assert all(optimiser.compiled for optimiser in compiled.state.optimisers.values())
    for run in (eager, compiled):
        without_noise(run)
    torch.testing.assert_close(torch.tensor(steps(compiled, 8)), torch.tensor(steps(eager, 8)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(weights(compiled), weights(eager), rtol=1e-2, atol=1e-3)
