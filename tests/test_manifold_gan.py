"""manifold-gan: its schedule. Its settings are tested in test_settings.py, its loss in test_games.py."""
import pytest

import datasets
import recipes
from engine.step import rate_factor


def test_manifold_gan_lets_its_rates_fall_over_the_last_200_epochs(data_dir):
    cfg = recipes.defaults(recipes.find("manifold-gan"), datasets.spec("CIFAR10", data_dir))
    rates = [rate_factor(epoch * 2000, 1400 * 2000, 2000, cfg.decay_from) for epoch in (1199, 1200, 1300, 1399)]
    assert rates == pytest.approx([1, 1, 0.5, 1 / 200])
