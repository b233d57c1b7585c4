"""bad-gan: its published settings, and the nets and terms that follow from its weights."""
import pytest
import torch

import datasets
import recipes
from config import UserError
from tests.steps import steps


def test_bad_gan_has_the_published_settings(data_dir):
    cifar, svhn, mnist = (recipes.defaults(recipes.find("bad-gan"), datasets.spec(name, data_dir))
                          for name in ("CIFAR10", "SVHN", "MNIST"))
    for cfg, terms in ((cifar, ({"supervised", "real", "fake"}, {"feature_matching", "variational"})),
                       (svhn, ({"supervised", "real", "fake", "entropy"}, {"feature_matching", "pull_away"})),
                       (mnist, ({"supervised", "real", "fake"}, {"feature_matching"}))):
        assert tuple(set(player.terms) for player in recipes.find("bad-gan").players(cfg)) == terms
        assert cfg.average == 0
    assert (cifar.labels, cifar.batch_size, cifar.epochs, cifar.learning_rate_d, cifar.learning_rate_g,
            cifar.variational) == (4000, 100, 1200, 6e-4, 3e-4, 0.01)
    assert (svhn.labels, svhn.batch_size, svhn.epochs, svhn.learning_rate_d, svhn.learning_rate_g, svhn.pull_away,
            svhn.entropy) == (1000, 64, 900, 1e-3, 1e-3, 0.8, 0.1)
    assert (cifar.decay_from, svhn.decay_from) == (2 / 3, 2 / 3)
    assert (mnist.labels, mnist.batch_size, mnist.learning_rate_d, mnist.learning_rate_g) == (100, 100, 3e-3, 1e-3)


def test_bad_gan_has_the_nets_and_terms_that_its_weights_ask_for(build):
    run = build("bad-gan", "Colour16", pull_away=0.8, entropy=0.1, variational=0.0)
    assert set(run.state.nets) == {"D", "G"}
    assert [player.terms[-1] for player in run.players] == ["entropy", "pull_away"]
    assert torch.tensor(steps(run, 2)).isfinite().all()
    assert set(build("bad-gan", "Colour16").state.nets) == {"D", "G", "E"}


def test_generator_and_encoder_start_with_the_published_outputs(build):
    """Fitted to data, they have deviation 0.1 and mean 0; unfitted ones have 0.3 and 0.5."""
    nets = build("bad-gan", "Colour16").state.nets
    images = nets["G"](nets["G"].prior(200, "cpu"))
    for outputs in (torch.atanh(images).transpose(0, 1).flatten(1), torch.cat(nets["E"](images), 1).T):
        assert outputs.std(1).mean().item() == pytest.approx(0.1, rel=0.1)
        assert outputs.mean(1).abs().mean() < 0.02


@pytest.mark.parametrize("model", ["mlp", "conv-small"])
def test_a_model_without_an_encoder_is_refused(model, build):
    with pytest.raises(UserError, match=f"--model {model}: has no net E"):
        build("bad-gan", "Colour16", model=model, variational=0.01)
