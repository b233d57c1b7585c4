"""vat: what enters the running averages, and how far an image is moved."""
import copy

import torch

import recipes
from tests.steps import batch_of


def test_only_labelled_images_enter_vats_running_averages(build):
    run = build("vat", "Colour16", average=0.9)
    batch = batch_of(run, 0)
    kept = copy.deepcopy(run.state.nets["D"])
    run.players[0].loss(run.state.seen, batch)
    kept(batch.x_lab)
    means = [next(m.running_mean for m in D.modules() if isinstance(m, torch.nn.BatchNorm2d))
             for D in (run.state.nets["D"], kept)]
    torch.testing.assert_close(*means)
    assert all(p.grad is None for p in run.state.nets["D"].parameters())


def test_without_a_perturbation_nothing_diverges(build):
    """The noise is drawn once for the two passes that are compared."""
    run = build("vat", epsilon=0.0)
    assert run.players[0].loss(run.state.seen, batch_of(run, 0))["virtual_adversarial"] == 0


def test_the_perturbation_has_the_asked_length_in_pixels(build, monkeypatch):
    run = build("vat", "Colour16", epsilon=2.0)
    found, original = [], recipes.vat.losses.virtual_adversarial
    monkeypatch.setattr(recipes.vat.losses, "virtual_adversarial",
                        lambda *args: found.append(original(*args)) or found[0])
    run.players[0].loss(run.state.seen, batch_of(run, 0))
    lengths = (found[0] * run.state.nets["D"].pixels.divisor / 255).flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((8,), 2.0))
