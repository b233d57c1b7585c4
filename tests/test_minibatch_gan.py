"""minibatch-gan: its layer as the paper prints it, and the turns of its players."""
import pytest
import torch

from models import minibatch
from models.minibatch import MinibatchDiscrimination
from tests.test_losses import B, assert_same


@pytest.mark.parametrize("on_cuda", [False, True])
@pytest.mark.parametrize("fitted", [False, True])
def test_minibatch_features_are_the_papers(fitted, on_cuda, monkeypatch):
    if on_cuda:  # what it computes there
        monkeypatch.setattr(minibatch, "_distances", minibatch.distances_by_dimension)
        monkeypatch.setattr(minibatch, "_through_distances", minibatch.through_distances_by_dimension)
    layer = MinibatchDiscrimination(4, others=B - 1, kernels=3, dims=2).double()
    x = torch.randn(B, 4, dtype=torch.float64, requires_grad=True)
    if fitted:
        layer.initialise(x)
        torch.testing.assert_close(layer(x, x).mean(0), torch.zeros(3, dtype=torch.float64))
    T = layer.theta / (layer.theta**2).sum(0) ** 0.5 * layer.log_scale.exp()
    M = [sum(x[i, a] * T[a] for a in range(4)) for i in range(B)]  # [3, 2] each
    distances = {(i, j): (M[i] - M[j]).abs().sum(1) for i in range(B) for j in range(B) if i != j}
    o = torch.stack([sum((-distances[i, j]).exp() for j in range(B) if j != i) for i in range(B)]) + layer.bias
    torch.testing.assert_close(layer(x, x.clone()), layer(x, x) * (B - 1) / B + (B - 1) / B + layer.bias / B)
    upstream = torch.randn(B, 3, dtype=torch.float64)
    assert_same((layer(x, x) * upstream).sum(), (o * upstream).sum(), x, layer.theta, layer.log_scale, layer.bias)
    if fitted:  # the nearest other image is 2 away on average, by each kernel
        nearest = torch.stack([torch.stack([distances[i, j] for j in range(B) if j != i]).amin(0) for i in range(B)])
        torch.testing.assert_close(nearest.mean(0), torch.full((3,), 2.0, dtype=torch.float64))


def test_minibatch_features_among_another_set_have_the_size_of_a_batchs():
    layer = MinibatchDiscrimination(4, others=9, kernels=3, dims=2).double()
    x, beside = torch.randn(2, 4).double(), torch.randn(5, 4).double()
    twice = torch.cat([beside, beside])
    torch.testing.assert_close(layer(x, beside), layer(x, twice))
    torch.testing.assert_close(layer(x, x[:1].expand(6, 4))[0], 9 + layer.bias)  # of 9 others that are the same


def test_minibatch_gan_moves_the_generator_three_times(build):
    run = build("minibatch-gan")
    assert [player.times for player in run.players] == [1, 3]
    assert run.state.nets["D"].minibatch.others == run.cfg.batch_size - 1
