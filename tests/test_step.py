"""What one step draws, decides and moves."""
import gc
import itertools
import weakref
from functools import partial

import pytest
import torch

import ops
import recipes
from engine import world
from engine.step import Step
from tests.conftest import TOYS
from tests.steps import judge_apart, normalises_batches, steps, without_noise
from tests.steps import weights as weights_of


def watched(player, batches):
    """The player, whose batches are kept, each with the step as it was then."""
    def loss(nets, b):
        batches.append(b._replace(step=b.step.clone()))
        return player.loss(nets, b)

    return player._replace(loss=loss)


def test_every_update_draws_noise_of_its_own(build):
    """Whether by another seed, player, turn or step."""
    batches = []
    for seed in (1, 2):
        run = build("ssgan", seed=seed, update_rate=2, update_rate_d=2)
        step = Step(run.state, tuple(watched(player, batches) for player in run.players), run.pipeline, {}, run.cfg)
        step()
        step()
    assert [b.step.item() for b in batches] == 2 * [0, 0, 0, 0, 1, 1, 1, 1]
    assert not any(torch.equal(first.z, second.z) for first, second in itertools.combinations(batches, 2))


def test_a_run_gives_its_memory_back_at_once(build):
    """Several runs follow one another in a process; the garbage collector may come late."""
    run = build()
    steps(run, 1)
    state = weakref.ref(run.state)
    gc.disable()
    try:
        del run
        assert state() is None
    finally:
        gc.enable()


def test_the_first_loss_decides_on_another_update(build):
    run, asked = build(), []
    D, G = run.players
    again = G._replace(again=lambda total, step: asked.append(total.item()) or torch.tensor(True))
    values = Step(run.state, (D, again), run.pipeline, {}, run.cfg)()
    assert asked == [values[-1].item()]


class Slow:
    """A step as the papers have it, in which nothing is fused, cached or judged together: Adam (eps inside the root or
    not, as the recipe's is), clipping and the average written out."""

    def __init__(self, run):
        self.run, self.moments = run, {}

    def __call__(self):
        state, pipeline = self.run.state, self.run.pipeline
        for number, player in enumerate(self.run.players):
            for turn in range(player.times):
                position = state.step * player.times + turn
                fetched = pipeline.fetch(number, position, state.evaluated in player.trains)
                world.seed_noise(pipeline.seed, number, position)
                z = state.nets["G"].prior(pipeline.batch_size, "cpu") if "G" in state.nets else None
                batch = pipeline.batch(fetched, torch.tensor(float(state.step)), z)
                total = sum(player.loss(state.seen, batch).values())
                self.move(player, torch.autograd.grad(total, state.moves[player.name]), position + 1)
                if state.evaluated in player.trains and state.average:
                    rate = (1 - state.average) / (1 - state.average ** (position + 1))
                    now = state.nets[state.evaluated].state_dict()
                    for name, a in state.averaged.state_dict().items():
                        if a.is_floating_point():
                            a.copy_((1 - rate) * a + rate * now[name])
        state.step += 1

    @torch.no_grad()
    def move(self, player, gradients, count):
        optimiser = self.run.state.optimisers[player.name]
        group = optimiser.param_groups[0]
        inside, (first, second) = isinstance(optimiser, ops.Adam), group["betas"]
        norm = sum(g.square().sum() for g in gradients).sqrt()
        for p, g in zip(self.run.state.moves[player.name], gradients, strict=True):
            if player.clip and norm > player.clip:
                g = g * player.clip / norm
            m, v = self.moments.get(p, (0, 0))
            m, v = self.moments[p] = first * m + (1 - first) * g, second * v + (1 - second) * g**2
            m, v = m / (1 - first**count), v / (1 - second**count)
            eps = {"pixelcnn": 2.5e-19}.get(self.run.cfg.recipe, 1e-8)
            p -= group["lr"] * m / ((v + eps).sqrt() if inside else v.sqrt() + eps)


@pytest.fixture
def precise(monkeypatch):
    """Networks, images and noise are made in float64."""
    monkeypatch.setattr(ops.Pixels, "from_bytes", lambda self, x: (x.double() - self.offset) / self.divisor)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_the_step_moves_weights_as_a_plain_one_does(recipe, toy, build, precise, monkeypatch):
    options = {"precision": "float32"} | ({"clip": 0.5} if recipe in ("dcgan", "ssgan") else {})
    fast, slow = [build(recipe, toy, **options) for _ in range(2)]
    for run in (fast, slow):
        without_noise(run)
    before = weights_of(slow)
    plain = Slow(slow)
    for _ in range(3):
        fast.step()
        with monkeypatch.context() as patch:
            if not normalises_batches(slow):
                judge_apart(patch)
            plain()
    ours, theirs = weights_of(fast), weights_of(slow)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)
    assert any(not torch.equal(before[name], value) for name, value in theirs.items())


@pytest.mark.parametrize("recipe", [name for name, recipe in recipes.RECIPES.items() if recipe.evaluated != "density"])
def test_a_compiled_loss_is_the_loss(recipe, build, monkeypatch):
    """But for the code that a compiler would make of the graph, which takes minutes and a compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(ops, "normal_like", torch.randn_like)  # which a compiled loss draws, too
    eager, compiled = (build(recipe, precision="float32", compile=how) for how in (False, True))
    for run in (eager, compiled):
        without_noise(run)
    torch.testing.assert_close(torch.tensor(steps(compiled, 3)), torch.tensor(steps(eager, 3)), rtol=1e-3, atol=1e-5)
    torch._dynamo.reset()
