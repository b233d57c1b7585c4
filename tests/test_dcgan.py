"""dcgan: the settings and the running averages of its code."""
import pytest
import torch

import recipes
from config import Spec
from tests.steps import steps


@pytest.mark.parametrize(("shape", "model"), [((28, 28, 1), "dcgan"), ((32, 32, 3), "dcgan"), ((64, 64, 3), "dcgan"),
                                              ((96, 96, 3), "ssgan"), ((30, 30, 1), "ssgan"), ((32, 24, 3), "mlp"),
                                              ((8, 8, 1), "mlp")])
def test_dcgan_has_the_settings_of_its_code(shape, model):
    cfg = recipes.defaults(recipes.find("dcgan"), Spec("any", shape, 10))
    assert (cfg.model, cfg.labels, cfg.batch_size, cfg.average) == (model, 0, 64, 0)
    assert (cfg.learning_rate_d, cfg.learning_rate_g, cfg.clip, cfg.confidence, cfg.n_z) == (1e-3, 1e-3, 20, 0.9, 100)
    if model != "mlp":
        assert cfg.update_rate == 5
        assert abs(cfg.steps * (1 + cfg.update_rate) - 100_000) < 6


def test_the_generator_of_dcgan_keeps_running_averages_and_draws_with_them(build):
    run = build("dcgan", "Colour16")
    G = run.state.nets["G"]
    norms = [m for m in G.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 3
    steps(run, 2)
    assert all(int(norm.num_batches_tracked) == 2 * run.cfg.update_rate for norm in norms)  # G's own updates alone
    z = G.eval().prior(8, "cpu")
    with torch.no_grad():
        torch.testing.assert_close(G(z[:1]), G(z)[:1])
        before = G(z)
        norms[0].running_mean.add_(1)
        assert not torch.allclose(G(z), before)
        norms[1].weight.mul_(0)
        norms[1].bias.mul_(0)
        assert torch.equal(G(z)[0], G(z)[1])  # all goes through the norm
