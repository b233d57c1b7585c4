"""What one step draws and decides."""
import itertools

import torch

from engine.step import Step


def watched(player, batches):
    return player._replace(loss=lambda nets, b: batches.append(b) or player.loss(nets, b))


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


def test_the_first_loss_decides_on_another_update(build):
    run, asked = build(), []
    D, G = run.players
    again = G._replace(again=lambda total, step: asked.append(total.item()) or torch.tensor(True))
    values = Step(run.state, (D, again), run.pipeline, {}, run.cfg)()
    assert asked == [values[-1].item()]
