"""The formulas of the field as pure functions, means over the batch unless said. K classes, B images, F features.

Notation: l = logits of the real classes [B, K]; Z = logsumexp(l); r = logit of "real" [B] (`Verdict.real`), so that
D(x) = p(real | x) = sigmoid(r). With an implicit head r = Z.
"""
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(classes: Tensor, y: Tensor) -> Tensor:
    """-log p(y | x, real) = -l_y + Z, over the K real classes (Salimans et al. 2016, L_supervised, section 5)."""
    return functional.cross_entropy(classes, y)


def taken_for_real(real: Tensor) -> Tensor:
    """-log D(x) = softplus(-r): first half of L_unsupervised (Salimans et al. 2016, section 5)."""
    return functional.softplus(-real).mean()


def taken_for_fake(real: Tensor) -> Tensor:
    """-log(1 - D(x)) = softplus(r): second half of L_unsupervised (Salimans et al. 2016, section 5)."""
    return functional.softplus(real).mean()


def feature_matching(fake: Tensor, real: Tensor, norm: int = 2) -> Tensor:
    """Distance of the batch means of two feature sets [B, F], averaged over F: squared (norm 2: the MNIST code) or
    absolute (norm 1: the SVHN and CIFAR-10 code) (Salimans et al. 2016, section 3.1, which has the squared one)."""
    difference = fake.mean(0) - real.mean(0)
    return difference.abs().mean() if norm == 1 else difference.square().mean()


def all_logits(classes: Tensor, real: Tensor) -> Tensor:
    """The K+1 logits [B, K+1] that a Verdict stands for, the fake class last: fake = Z - r."""
    return torch.cat([classes, (torch.logsumexp(classes, 1) - real)[:, None]], dim=1)


def smoothed_cross_entropy(logits: Tensor, target: int, confidence: float) -> Tensor:
    """Cross-entropy over all K+1 logits with target probability `confidence` on the class `target` and the rest spread
    evenly over the other K (SSGAN-Tensorflow, model.py: 0.9 on the fake side)."""
    log_p = functional.log_softmax(logits, dim=1)
    hit = log_p[:, target]
    rest = (log_p.sum(1) - hit) / (logits.shape[1] - 1)
    return -(confidence * hit + (1 - confidence) * rest).mean()


def huber(prediction: Tensor, target: Tensor) -> Tensor:
    """Huber loss, mean over every element: quadratic within 1, linear beyond (SSGAN-Tensorflow, ops.py)."""
    return functional.huber_loss(prediction, target)


def annealed(start: float, step: Tensor, steps: float, end: float = 0.0) -> Tensor:
    """start * (1 - step / steps), but never below `end` (SSGAN-Tensorflow, trainer.py: 10 over 1500 steps to 0; in
    June 2017 to 0.01)."""
    return (start * (1 - step / steps)).clamp(min=end)


def divergence(target: Tensor, classes: Tensor) -> Tensor:
    """KL[softmax(target) || softmax(classes)]: D of LDS (Miyato et al. 2018, eq. 5)."""
    log_p, log_q = functional.log_softmax(target, dim=1), functional.log_softmax(classes, dim=1)
    return functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def unit(d: Tensor) -> Tensor:
    """Each d_i / |d_i|_2 of the batch (the overline of Miyato et al. 2018, eq. 10); a zero stays one. The largest
    element is divided out first, since the square of a small gradient underflows."""
    flat = d.flatten(1)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(d.dtype).tiny)
    return functional.normalize(flat).view_as(d)


def virtual_adversarial(logits: Callable[[Tensor], Tensor], x: Tensor, d: Tensor, xi: float, epsilon: float) -> Tensor:
    """r_vadv [as x], the perturbation of norm epsilon that moves p(y | x) = softmax(logits(x)) most, after one power
    iteration from the random d (Miyato et al. 2018, eq. 14 and 15). The Hessian of the divergence at 0 times d is, but
    for its length, the gradient at the small step xi d, because the gradient at 0 is 0 (eq. 12)."""
    with torch.no_grad():
        target = logits(x)
    r = (xi * unit(d)).requires_grad_()
    gradient, = torch.autograd.grad(divergence(target, logits(x + r)), r)
    return epsilon * unit(gradient)


def cross_entropy_of_all(classes: Tensor, real: Tensor, y: Tensor) -> Tensor:
    """-log p(y | x) of labelled images over all K+1 classes (Odena 2016). It is `cross_entropy` plus
    `taken_for_real` of the same images."""
    return functional.cross_entropy(all_logits(classes, real), y)


def binary_cross_entropies(classes: Tensor, y: Tensor) -> Tensor:
    """Mean over images and classes of the cross-entropy of sigmoid(l_k) with the target 1 for k = y, else 0: each class
    asks by itself whether the image is its own (SSGAN-Tensorflow, model.py of June 2017)."""
    one_hot = torch.zeros_like(classes).scatter(1, y[:, None], 1.0)
    return functional.binary_cross_entropy_with_logits(classes, one_hot)


def conditional_entropy(classes: Tensor) -> Tensor:
    """E_x H[p(y | x, D)], nats, of p = softmax(l) over the K classes: low where each image is put into a class with
    confidence (Grandvalet & Bengio 2004; Springenberg 2016, eq. 4 and 5, of real and of generated images; R_cent, the
    "EntMin" of Miyato et al. 2018; Dai et al. 2017, the last term of D's objective)."""
    log_p = functional.log_softmax(classes, dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


def marginal_entropy(classes: Tensor) -> Tensor:
    """H[p(y | D)], nats, of the batch mean of p(y | x, D): high where the classes are used equally (Springenberg 2016,
    eq. 6)."""
    log_p = torch.logsumexp(functional.log_softmax(classes, dim=1), dim=0) - math.log(len(classes))
    return -(log_p.exp() * log_p).sum()


def unevenness(classes: Tensor) -> Tensor:
    """log K - H[E p] of the logits [B, K]: 0 where the classes are used equally; ours."""
    return math.log(classes.shape[1]) - marginal_entropy(classes)


def probability_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean of (softmax(l) - softmax(l'))^2 over images and classes, for the logits [B, K] of two passes of the same
    images: under two dropouts (first half of CT, Wei et al. 2018, eq. 5 by issue 7 of biuyq/CT-GAN, as in CT_CIFAR.py),
    or of a student and its teacher (J, the consistency cost of Tarvainen & Valpola 2017; their code, too, takes the
    mean over the classes)."""
    return functional.mse_loss(torch.softmax(first, dim=1), torch.softmax(second, dim=1))


def feature_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean of (f - f')^2 over images and features [B, F], for the same two passes (the other half of CT, of the layer
    before the last)."""
    return functional.mse_loss(first, second)


def step_towards(x: Tensor, target: Tensor, length: float) -> Tensor:
    """x + length * (target - x) / |target - x|, the norm of each image or z by itself: a step of that
    length on the way from x to the target (Lecouat et al. 2018, train_cifar.py)."""
    return x + length * unit(target - x)


def smooth_distance(first: Tensor, second: Tensor, eps: float = 1e-8) -> Tensor:
    """Sum over the classes of sqrt((l - l')^2 + eps), a smooth |l - l'|, mean over the batch (Lecouat et al. 2018,
    train_cifar.py)."""
    return ((first - second).square() + eps).sqrt().sum(1).mean()


def pull_away(features: Tensor) -> Tensor:
    """sum over i != j of cos^2(f_i, f_j) / (B (B - 1)) of generated images' features [B, F]: small where they point
    in different directions (f_PT of Zhao et al. 2016, arXiv:1609.03126, section 2.4; Dai et al. 2017 for the entropy of
    G)."""
    directions = unit(features)
    with torch.autocast(features.device.type, enabled=False):  # products of a loss are not rounded
        cosines = directions @ directions.T
    count = len(features)
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / (count * (count - 1))


def gaussian_nll(z: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """-log q(z | x) = sum of log sigma + ((z - mu) / sigma)^2 / 2 over the entries of z, without its constant:
    an upper bound of -H(p_G), so that it keeps G's images apart (Dai et al. 2017, the variational term). What is
    divided by is 1e-8 at least; their code adds that to sigma."""
    inverse = torch.exp(-log_deviation.clamp(min=math.log(1e-8)))
    return (log_deviation + 0.5 * ((z - mean) * inverse).square()).sum(1).mean()


def ramped_up(step: Tensor, length: float) -> Tensor:
    """exp(-5 (1 - step / length)^2), 1 from `length` on: the "sigmoid" ramp-up of Laine & Aila 2016 and Tarvainen &
    Valpola 2017."""
    return torch.exp(-5 * (1 - (step / length).clamp(0, 1)) ** 2)


def smoothed_real(real: Tensor, smoothing: float) -> Tensor:
    """-(1 - s) log D(x) - s log(1 - D(x)): real images with the target 1 - s (one-sided label smoothing, Salimans et
    al. 2016, section 3.4)."""
    return (1 - smoothing) * taken_for_real(real) + smoothing * taken_for_fake(real)


def smoothed_fake(real: Tensor, confidence: float) -> Tensor:
    """-c log(1 - D(x)) - (1 - c) log D(x): generated images with the target c of "generated" (DCGAN-Tensorflow,
    model.py: 0.9; the binary form of `smoothed_cross_entropy`)."""
    return confidence * taken_for_fake(real) + (1 - confidence) * taken_for_real(real)


def masked_cross_entropy(classes: Tensor, y: Tensor) -> Tensor:
    """sum(mask * -log p(y | x, real)) / max(1, sum(mask)), the mask 0 where y = -1 (the sthalles article on SVHN)."""
    total = functional.cross_entropy(classes, y, ignore_index=-1, reduction="sum")
    return total / (y >= 0).sum().clamp(min=1)


def sliced_wasserstein(first: Tensor, second: Tensor) -> Tensor:
    """Mean over P projections of the Wasserstein-1 distance of two sets of N projected points [N, P]: on a line that
    is the mean |difference| of the sorted values (Rabin et al. 2011 with squares; absolute values and 512 projections
    as in the code of Karras et al. 2018, which projects patches of a Laplacian pyramid)."""
    return (first.sort(0).values - second.sort(0).values).abs().mean()


def frechet(first: Tensor, second: Tensor) -> Tensor:
    """|m - m'|^2 + Tr(C + C' - 2 (C C')^(1/2)) of the means and covariances of two feature sets [N, F], in float64
    (Heusel et al. 2017, eq. 6). The trace of the root is that of (C^(1/2) C' C^(1/2))^(1/2), which is symmetric."""
    first, second = first.double(), second.double()
    ours, theirs = (torch.atleast_2d(torch.cov(x.T)) for x in (first, second))
    values, vectors = torch.linalg.eigh(ours)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    crossed = torch.linalg.eigvalsh(root @ theirs @ root).clamp(min=0).sqrt().sum()
    return (first.mean(0) - second.mean(0)).square().sum() + ours.trace() + theirs.trace() - 2 * crossed


def class_score(classes: Tensor) -> Tensor:
    """exp(E_x KL[p(y | x) || p(y)]) of the logits [N, K], p(y) the mean of p(y | x): from 1 to K, high where each image
    is surely of one class and the classes are used alike (Salimans et al. 2016, section 4: with Inception's p(y | x)
    the Inception score). The divergence is the entropy of the mean less the mean entropy."""
    return torch.exp(marginal_entropy(classes) - conditional_entropy(classes))


GREY_LEVEL = 2 / 255  # between neighbouring bytes, on pixels from -1 to 1


def log_likelihood(x: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, coefficients: Tensor) -> Tensor:
    """log p(x) [B], nats, of images x [B, C, H, W] from -1 to 1 under discretised mixtures of logistics (Salimans et
    al. 2017, eq. 2 and 3): a byte has the probability sigma((x + 1/255 - mu) / s) - sigma((x - 1/255 - mu) / s) that
    the mixture gives to the values nearest to it, with all below for the byte 0 and all above for 255. The M logits
    are [B, M, H, W], means and log scales [B, C, M, H, W]; the coefficients [B, C (C - 1) / 2, M, H, W] add the
    colours before a colour to its mean. Pixels between the bytes are taken as they are, so that there is a gradient."""
    x = x[:, :, None]
    if x.shape[1] == 3:
        red, green, _ = x.unbind(1)
        on_red, blue_on_red, on_green = coefficients.unbind(1)
        shift = torch.stack([torch.zeros_like(on_red), on_red * red, blue_on_red * red + on_green * green], dim=1)
        means = means + shift
    scaled, half = (x - means) * torch.exp(-log_scales), 0.5 * GREY_LEVEL * torch.exp(-log_scales)
    # sigma(a) - sigma(b) = sigma(a) sigma(-b) (1 - e^(b - a)), in which nothing is rounded away.
    below, above = functional.logsigmoid(scaled + half), functional.logsigmoid(half - scaled)
    inside = below + above + torch.log(-torch.expm1(-2 * half))
    log_p = torch.where(x < -0.999, below, torch.where(x > 0.999, above, inside)).sum(1)
    return torch.logsumexp(log_p + functional.log_softmax(logits, dim=1), dim=1).sum((1, 2))


def bits_per_dimension(log_p: Tensor, dimensions: int) -> Tensor:
    """-log2 p(x) per pixel and colour, mean over the batch, from log p(x) [B] in nats."""
    return -log_p.mean() / (dimensions * math.log(2))


def above_threshold(log_p: Tensor, threshold: Tensor) -> Tensor:
    """E max(log p(G(z)) - epsilon, 0) of log p [B], with the gradient of E log p(G(z)) 1[log p(G(z)) > epsilon]: the
    low-density term of Dai et al. 2017, which drives generated images off the regions that a density model finds
    likely. (Their code divides by the number of those images, not by that of all.)"""
    return functional.relu(log_p - threshold).mean()
