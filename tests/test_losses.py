"""Every formula against the paper's, written out in float64, with gradients, for both heads."""
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

import losses
import ops

torch.manual_seed(0)
B, K = 7, 5


def logits(columns):
    return torch.randn(B, columns, dtype=torch.float64, requires_grad=True)


def k_plus_1(raw):
    """The K+1 logits that a network's outputs stand for: an implicit head's fake logit is 0."""
    return raw if raw.shape[1] == K + 1 else torch.cat([raw, torch.zeros(B, 1, dtype=raw.dtype)], 1)


def assert_same(ours, theirs, *inputs):
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(loss, inputs, retain_graph=True) for loss in (ours, theirs)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


heads = pytest.mark.parametrize("columns", [K, K + 1], ids=["implicit", "explicit"])


@heads
def test_real_and_fake_terms_are_the_papers(columns):
    raw = logits(columns)
    p = torch.softmax(k_plus_1(raw), 1)
    verdict = ops.verdict(raw, raw, K)
    assert_same(losses.taken_for_real(verdict.real), -(1 - p[:, K]).log().mean(), raw)
    assert_same(losses.taken_for_fake(verdict.real), -p[:, K].log().mean(), raw)


@heads
def test_cross_entropy_is_conditional_on_real(columns):
    raw, y = logits(columns), torch.arange(B) % K
    p = torch.softmax(k_plus_1(raw), 1)
    conditional = p[torch.arange(B), y] / (1 - p[:, K])
    assert_same(losses.cross_entropy(ops.verdict(raw, raw, K).classes, y), -conditional.log().mean(), raw)


@heads
def test_k_plus_1_cross_entropy_is_class_term_plus_real_term(columns):
    raw, y = logits(columns), torch.arange(B) % K
    verdict = ops.verdict(raw, raw, K)
    ours = losses.cross_entropy(verdict.classes, y) + losses.taken_for_real(verdict.real)
    assert_same(ours, -torch.log_softmax(k_plus_1(raw), 1)[torch.arange(B), y].mean(), raw)


@heads
def test_all_logits_rebuilds_them(columns):
    raw = logits(columns)
    verdict = ops.verdict(raw, raw, K)
    torch.testing.assert_close(losses.all_logits(verdict.classes, verdict.real), k_plus_1(raw), rtol=1e-12, atol=1e-12)


def test_terms_stay_finite_where_the_probability_underflows():
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    for loss in (losses.taken_for_real(far), losses.taken_for_fake(far)):
        assert loss.isfinite()
        assert torch.autograd.grad(loss, far)[0].isfinite().all()


def test_smoothed_fake_is_the_binary_cross_entropy_with_that_target():
    real = torch.randn(B, dtype=torch.float64, requires_grad=True)
    p_fake = 1 - torch.sigmoid(real)
    assert_same(losses.smoothed_fake(real, 0.9), -(0.9 * p_fake.log() + 0.1 * (1 - p_fake).log()).mean(), real)


def test_sliced_wasserstein_is_the_mean_over_the_lines():
    first, second = (torch.randn(9, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    lines = [scipy.stats.wasserstein_distance(*(x.detach()[:, p].numpy() for x in (first, second))) for p in range(4)]
    assert losses.sliced_wasserstein(first, second).item() == pytest.approx(np.mean(lines), rel=1e-12)
    assert losses.sliced_wasserstein(first, first.flip(0)) == 0  # the order of the points does not matter
    # Each point moves its own line: 1 / (N P) to the side on which it lies of its partner.
    gradient, = torch.autograd.grad(losses.sliced_wasserstein(first, second), first)
    torch.testing.assert_close(gradient.abs(), torch.full_like(gradient, 1 / 36))
    moved = losses.sliced_wasserstein(first + 5, first)
    assert moved.item() == pytest.approx(5, rel=1e-12)


def test_frechet_is_heusels_formula():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(40, 6)) @ generator.normal(size=(6, 6)) + 0.3
    second = generator.normal(size=(50, 6)) @ generator.normal(size=(6, 6))
    (m, c), (n, d) = ((x.mean(0), np.cov(x, rowvar=False)) for x in (first, second))
    expected = ((m - n) ** 2).sum() + np.trace(c + d - 2 * scipy.linalg.sqrtm(c @ d).real)
    for pair in ((first, second), (second, first)):
        assert losses.frechet(*map(torch.from_numpy, pair)).item() == pytest.approx(expected, rel=1e-10)


def test_frechet_of_little_data():
    few = torch.randn(3, 8)  # a covariance without full rank, and in float32
    assert losses.frechet(few, few).item() == pytest.approx(0, abs=1e-6)
    assert losses.frechet(few, few).dtype == torch.float64
    line = torch.tensor([[0.0], [2.0]])
    assert losses.frechet(line, 3 * line + 1).item() == pytest.approx(9 + 2 * (3 - 1) ** 2)  # (m-m')^2 + (s-s')^2


def test_class_score_is_the_exponential_of_the_mean_divergence_from_the_mean():
    raw = logits(K)
    p = torch.softmax(raw, 1)
    divergence = sum((p[i] * (p[i] / p.mean(0)).log()).sum() for i in range(B)) / B
    assert_same(losses.class_score(raw), divergence.exp(), raw)
    sure = 1e3 * torch.eye(K, dtype=torch.float64)
    assert losses.class_score(sure).item() == pytest.approx(K)
    assert losses.class_score(sure[:1].expand(4, K)).item() == pytest.approx(1)


@pytest.mark.parametrize("norm", [1, 2])
def test_feature_matching_compares_batch_means(norm):
    fake = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    real = torch.randn(9, 3, dtype=torch.float64)
    total = 0.0
    for j in range(3):
        difference = sum(fake[i, j] for i in range(6)) / 6 - sum(real[i, j] for i in range(9)) / 9
        total = total + (difference.abs() if norm == 1 else difference**2)
    assert_same(losses.feature_matching(fake, real, norm), total / 3, fake)


@pytest.mark.parametrize("confidence", [0.9, 1.0])
def test_smoothed_cross_entropy_spreads_the_rest(confidence):
    raw = logits(K + 1)
    target = torch.full((K + 1,), (1 - confidence) / K, dtype=torch.float64)
    target[K] = confidence
    theirs = -(target * torch.log_softmax(raw, 1)).sum(1).mean()
    assert_same(losses.smoothed_cross_entropy(raw, K, confidence), theirs, raw)


def test_huber_is_quadratic_then_linear():
    prediction = torch.tensor([[0.0, 0.5], [3.0, -2.0]], dtype=torch.float64, requires_grad=True)
    assert losses.huber(prediction, torch.zeros(2, 2, dtype=torch.float64)).item() == pytest.approx(
        (0 + 0.125 + 2.5 + 1.5) / 4)


def test_annealing_falls_linearly_to_zero_and_stays():
    weights = [losses.annealed(10.0, torch.tensor(float(s)), 1500).item() for s in (0, 750, 1500, 9000)]
    np.testing.assert_allclose(weights, [10, 5, 0, 0])
    weights = [losses.annealed(10.0, torch.tensor(float(s)), 1500, 0.01).item() for s in (0, 750, 1498, 1499, 9000)]
    np.testing.assert_allclose(weights, [10, 5, 10 * 2 / 1500, 0.01, 0.01], rtol=1e-4)


@heads
def test_binary_cross_entropies_are_of_each_class_by_itself(columns):
    raw, y = logits(columns), torch.arange(B) % K
    p = 1 / (1 + torch.exp(-raw[:, :K]))
    theirs = -sum((p[i, k] if k == y[i] else 1 - p[i, k]).log() for i in range(B) for k in range(K)) / (B * K)
    assert_same(losses.binary_cross_entropies(ops.verdict(raw, raw, K).classes, y), theirs, raw)


@heads
def test_cross_entropy_of_all_is_of_the_k_plus_1_probabilities(columns):
    raw, y = logits(columns), torch.arange(B) % K
    verdict = ops.verdict(raw, raw, K)
    p = torch.exp(k_plus_1(raw)) / torch.exp(k_plus_1(raw)).sum(1, keepdim=True)
    theirs = -sum(p[i, y[i]].log() for i in range(B)) / B
    assert_same(losses.cross_entropy_of_all(verdict.classes, verdict.real, y), theirs, raw)


def entropy(p):
    return -sum(p[k] * p[k].log() for k in range(len(p)))


def test_entropies_are_those_of_catgan():
    raw = logits(K)
    p = torch.exp(raw) / torch.exp(raw).sum(1, keepdim=True)
    assert_same(losses.conditional_entropy(raw), sum(entropy(p[i]) for i in range(B)) / B, raw)
    assert_same(losses.marginal_entropy(raw), entropy(sum(p[i] for i in range(B)) / B), raw)


def test_entropies_at_their_ends_and_far_out():
    sure = (1e4 * torch.eye(K)).requires_grad_()
    for loss, value in ((losses.conditional_entropy(sure), 0.0), (losses.marginal_entropy(sure), np.log(K)),
                        (losses.marginal_entropy(sure[:1]), 0.0)):
        assert loss.item() == pytest.approx(value, abs=1e-6)
        assert torch.autograd.grad(loss, sure)[0].isfinite().all()


def test_two_passes_are_compared_by_mean_squares():
    first, second = logits(K), logits(K)
    p, q = (torch.exp(raw) / torch.exp(raw).sum(1, keepdim=True) for raw in (first, second))
    for ours, a, b in ((losses.probability_distance(first, second), p, q),
                       (losses.feature_distance(first, second), first, second)):
        assert_same(ours, sum((a[i, k] - b[i, k]) ** 2 for i in range(B) for k in range(K)) / (B * K), first, second)


def test_a_step_has_its_length_and_points_at_the_target():
    x, target = (torch.randn(B, 2, 3, 3, dtype=torch.float64, requires_grad=True) for _ in "xt")
    theirs = torch.stack([x[i] + 20 * (target[i] - x[i]) / ((target[i] - x[i]) ** 2).sum().sqrt() for i in range(B)])
    assert_same(losses.step_towards(x, target, 20.0).cos().sum(), theirs.cos().sum(), x, target)
    assert torch.equal(losses.step_towards(x, x, 20.0), x)


def test_smooth_distance_sums_over_the_classes():
    first, second = logits(K), logits(K)
    theirs = sum(((first[i, k] - second[i, k]) ** 2 + 1e-8) ** 0.5 for i in range(B) for k in range(K)) / B
    assert_same(losses.smooth_distance(first, second), theirs, first, second)
    assert torch.autograd.grad(losses.smooth_distance(first, first.detach()), first)[0].abs().max() == 0


def test_conditional_entropy_is_of_the_real_classes():
    raw = logits(K + 1)
    p = torch.softmax(raw, 1)
    conditional = p[:, :K] / (1 - p[:, K:])
    theirs = -sum(conditional[i, k] * conditional[i, k].log() for i in range(B) for k in range(K)) / B
    assert_same(losses.conditional_entropy(ops.verdict(raw, raw, K).classes), theirs, raw)


def test_pull_away_is_the_mean_squared_cosine_of_pairs():
    f = torch.randn(B, 4, dtype=torch.float64, requires_grad=True)
    pairs = [(f[i] @ f[j] / (f[i].norm() * f[j].norm())) ** 2 for i in range(B) for j in range(B) if i != j]
    assert_same(losses.pull_away(f), sum(pairs) / (B * (B - 1)), f)
    assert losses.pull_away(torch.eye(4)) == 0
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(losses.pull_away(f.float()), losses.pull_away(f).float())
    assert losses.pull_away(torch.ones(3, 4)).item() == pytest.approx(1)


def test_gaussian_nll_is_the_densitys_but_for_its_constant():
    z, mean, log_deviation = (torch.randn(B, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    density = torch.distributions.Normal(mean, log_deviation.exp())
    theirs = -density.log_prob(z).sum(1).mean() - 1.5 * np.log(2 * np.pi)
    assert_same(losses.gaussian_nll(z, mean, log_deviation), theirs, z, mean, log_deviation)


def test_gaussian_nll_of_a_deviation_of_nearly_nothing_is_finite():
    z, mean, log_deviation = torch.ones(2, 3), torch.zeros(2, 3), torch.full((2, 3), -60.0, requires_grad=True)
    loss = losses.gaussian_nll(z, mean, log_deviation)
    loss.backward()
    assert loss.isfinite()
    assert log_deviation.grad.isfinite().all()


def test_divergence_is_kullback_and_leiblers():
    target, raw = logits(K), logits(K)
    p, q = torch.softmax(target, 1), torch.softmax(raw, 1)
    theirs = sum(p[i, k] * (p[i, k] / q[i, k]).log() for i in range(B) for k in range(K)) / B
    assert_same(losses.divergence(target, raw), theirs, target, raw)
    assert losses.divergence(raw, raw).item() == pytest.approx(0, abs=1e-15)


def linear_softmax():
    """Weights, images, and the Hessian by r of D[p(x), p(x + r)] at r = 0 for each image: W^T (diag p - p p^T) W."""
    rng = np.random.RandomState(0)
    w, x = rng.randn(K, 6), rng.randn(B, 6)
    scores = np.exp(x @ w.T)
    p = scores / scores.sum(1, keepdims=True)
    return torch.from_numpy(w), torch.from_numpy(x), [w.T @ (np.diag(q) - np.outer(q, q)) @ w for q in p]


def test_one_power_iteration_multiplies_by_the_hessian():
    w, x, hessians = linear_softmax()
    d = torch.randn_like(x)
    r = losses.virtual_adversarial(lambda v: v @ w.T, x, d, 1e-6, 2.5).numpy()
    for found, hessian, start in zip(r, hessians, d.numpy(), strict=True):
        product = hessian @ start
        np.testing.assert_allclose(found, 2.5 * product / np.linalg.norm(product), atol=1e-4)


def test_power_iterations_end_at_the_dominant_eigenvector():
    w, x, hessians = linear_softmax()
    r = torch.randn_like(x)
    for _ in range(200):
        r = losses.virtual_adversarial(lambda v: v @ w.T, x, r, 1e-5, 1.0)
    for found, hessian in zip(r.numpy(), hessians, strict=True):
        assert abs(found @ np.linalg.eigh(hessian)[1][:, -1]) == pytest.approx(1, abs=1e-6)


def test_the_perturbation_leaves_no_gradient_behind():
    net = torch.nn.Linear(6, K)
    x = torch.randn(B, 6)
    r = losses.virtual_adversarial(net, x, torch.randn_like(x), 1e-3, 2.0)
    assert not r.requires_grad
    assert net.weight.grad is None
    torch.testing.assert_close(r.norm(dim=1), torch.full((B,), 2.0))


def test_unit_length_survives_underflow_and_zero():
    d = torch.tensor([[[3.0, 4.0]], [[3e-30, 4e-30]], [[0.0, 0.0]]])
    torch.testing.assert_close(losses.unit(d), torch.tensor([[[0.6, 0.8]], [[0.6, 0.8]], [[0.0, 0.0]]]))


def test_ramp_up_is_the_papers_and_stays_at_one():
    steps = (0, 10_000, 40_000, 90_000)
    found = [losses.ramped_up(torch.tensor(float(s)), 40_000).item() for s in steps]
    np.testing.assert_allclose(found, [np.exp(-5), np.exp(-5 * 0.75**2), 1, 1], rtol=1e-6)


@heads
def test_smoothed_real_is_binary_cross_entropy_with_target_below_one(columns):
    raw = logits(columns)
    real = 1 - torch.softmax(k_plus_1(raw), 1)[:, K]
    theirs = -(0.9 * real.log() + 0.1 * (1 - real).log()).mean()
    assert_same(losses.smoothed_real(ops.verdict(raw, raw, K).real, 0.1), theirs, raw)


@pytest.mark.parametrize("shown", [[0, 3, 4], []])
def test_masked_cross_entropy_counts_the_labelled_rows_alone(shown):
    raw, y = logits(K), torch.full((B,), -1)
    y[shown] = torch.arange(len(shown))
    p = torch.softmax(raw, 1)
    theirs = -sum((p[i, y[i]].log() for i in shown), start=0 * raw.sum()) / max(1, len(shown))
    assert_same(losses.masked_cross_entropy(raw, y), theirs, raw)
