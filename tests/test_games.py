"""The loss of every recipe as its paper or code prints it, with its gradients, in float64: D is played against formulas
that know nothing of losses.py. Whoever adds a recipe writes its game here."""
import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import grad

import recipes
from tests.steps import assert_as_printed, in_double

GAMES = []


def of(recipe, dataset="Grey8", training=False, **changes):
    """The function below gives that recipe's terms, player by player, with these settings."""
    def register(printed):
        name = "-".join([recipe, dataset, *(f"{name}={value}" for name, value in changes.items())])
        GAMES.append(pytest.param(recipe, dataset, training, changes, printed, id=name))
        return printed

    return register


def softmax(logits):
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def entropy(p):
    return -(p * p.log()).sum(-1)


def of_class(p, y):
    return torch.stack([row[k] for row, k in zip(p, y, strict=True)])


def divergence(p, q):
    return (p * (p / q).log()).sum(1).mean()


def unit(v):
    return v / v.flatten(1).square().sum(1).sqrt().view(-1, *[1] * (v.dim() - 1))


def matched(g, power):
    """Mean distance of the batches' mean features."""
    return ((g.f(g.G(g.z)).mean(0) - g.f(g.x_unl).mean(0)).abs() ** power).mean()


def salimans(g):
    """Section 5: the classes, and the two halves of L_unsupervised."""
    return {"supervised": -of_class(softmax(g.l(g.x_lab)), g.y_lab).log().mean(),
            "real": -0.5 * g.real(g.x_unl).log().mean(),
            "fake": -0.5 * (1 - g.real(g.G(g.z).detach())).log().mean()}


@of("improved-gan")
@of("improved-gan", head="explicit")
def improved_gan(g):
    return salimans(g), {"feature_matching": matched(g, 2)}


@of("improved-gan", "Colour16", model="conv-small")
def improved_gan_of_convolutions(g):
    return salimans(g), {"feature_matching": matched(g, 1)}


@of("minibatch-gan")
def minibatch_gan(g):
    return salimans(g), {"adversarial": (1 - g.real(g.G(g.z))).log().mean()}


def pulled_away(f):
    cosines = [torch.dot(a, b) ** 2 / (torch.dot(a, a) * torch.dot(b, b)) for i, a in enumerate(f)
               for j, b in enumerate(f) if i != j]
    return sum(cosines) / (len(f) * (len(f) - 1))


@of("bad-gan", "Colour16", pull_away=0.8, entropy=0.1, variational=0.0)
@of("bad-gan", "Colour16", pull_away=0.3, entropy=0.7, variational=0.0, head="explicit")
def bad_gan_of_svhn(g):
    return ({**salimans(g), "entropy": g.cfg.entropy * entropy(softmax(g.l(g.x_unl))).mean()},
            {"feature_matching": matched(g, 1), "pull_away": g.cfg.pull_away * pulled_away(g.f(g.G(g.z)))})


@of("bad-gan", "Colour16", variational=0.4)
def bad_gan_of_cifar10(g):
    mean, log_sigma = g.nets["E"](g.G(g.z))
    density = -log_sigma - (g.z - mean) ** 2 / (2 * torch.exp(log_sigma) ** 2)
    return salimans(g), {"feature_matching": matched(g, 1), "variational": -0.4 * density.sum(1).mean()}


@of("bad-gan")
def bad_gan_without_a_density(g):
    return improved_gan(g)


@of("catgan")
def catgan(g):
    lab, unl, gen = (softmax(g.l(x)) for x in (g.x_lab, g.x_unl, g.G(g.z)))
    fixed = softmax(g.l(g.G(g.z).detach()))
    return ({"supervised": -of_class(lab, g.y_lab).log().mean(), "marginal_real": -entropy(unl.mean(0)),
             "conditional_real": entropy(unl).mean(), "conditional_fake": -entropy(fixed).mean()},
            {"marginal": -entropy(gen.mean(0)), "conditional": entropy(gen).mean()})


@of("sgan")
@of("sgan", head="implicit")
@of("sgan", adversary="non-saturating")
def sgan(g):
    lab, unl, fixed, gen = (g.all(x) for x in (g.x_lab, g.x_unl, g.G(g.z).detach(), g.G(g.z)))
    adversarial = gen[:, -1].log() if g.cfg.adversary == "minimax" else -(1 - gen[:, -1]).log()
    return ({"supervised": -of_class(lab, g.y_lab).log().mean(), "real": -(1 - unl[:, -1]).log().mean(),
             "fake": -fixed[:, -1].log().mean()}, {"adversarial": adversarial.mean()})


def two_passes(g):
    """All batches go through D at once, the unlabelled one twice, so that the noise can be drawn again."""
    torch.manual_seed(0)
    seen = g.D(torch.cat([g.x_lab, g.x_unl, g.x_unl, g.G(g.z).detach()]))
    (lab, unl, again, _), (_, f, f_again, _) = seen.classes.split(8), seen.features.split(8)
    real = torch.sigmoid(seen.real).split(8)
    first, second = softmax(unl), softmax(again)
    assert (first - second).abs().max() > 1e-3
    return ({"supervised": -of_class(softmax(lab), g.y_lab).log().mean(), "real": -0.5 * real[1].log().mean(),
             "fake": -0.5 * (1 - real[3]).log().mean()}, first, second, ((f - f_again) ** 2).mean())


@of("ct-gan", training=True)
def ct_gan(g):
    terms, first, second, _ = two_passes(g)
    return ({**terms, "consistency": ((first - second) ** 2).mean() / 20},)


@of("ct-gan", "Colour16", training=True, model="conv-small")
def ct_gan_of_convolutions(g):
    terms, first, second, features = two_passes(g)
    return ({**terms, "consistency": ((first - second) ** 2).mean() / 2, "feature_consistency": features / 20},)


@of("improved-gan", training=True, consistency=5.0, balance=0.3)
def improved_gan_of_two_passes(g):
    terms, first, second, _ = two_passes(g)
    used = (first.mean(0) + second.mean(0)) / 2
    return ({**terms, "consistency": 5 * ((first - second) ** 2).mean(),
             "balance": 0.3 * (math.log(4) - entropy(used))},)


@of("manifold-gan", gamma=0.3, epsilon=1.7, eta=0.6)
@of("manifold-gan", gamma=2.0, epsilon=0.4, eta=1.3, head="explicit")
def manifold_gan(g):
    u, here = torch.randn(g.z.shape, dtype=torch.float64), g.G(g.z).detach()
    there = here + g.cfg.epsilon * unit(g.G(g.z + g.cfg.eta * unit(u)).detach() - here)
    away = ((g.l(here) - g.l(there)) ** 2 + 1e-8).sqrt().sum(1).mean()
    return {**salimans(g), "manifold": g.cfg.gamma * away}, {"feature_matching": matched(g, 2)}


@of("blog-svhn", labels_come="separately", smoothing=0.25)
@of("blog-svhn", labels_come="masked")
def blog_svhn(g):
    s, masked = g.cfg.smoothing, g.cfg.labels_come == "masked"
    p = softmax(g.l(g.x_unl if masked else g.x_lab))
    shown = [p[i, k] for i, k in enumerate(g.y_unl if masked else g.y_lab) if k >= 0]
    assert len(shown) == (3 if masked else 8)
    unl, gen = g.real(g.x_unl), g.real(g.G(g.z).detach())
    return ({"supervised": -sum(p.log() for p in shown) / len(shown),
             "real": -((1 - s) * unl.log() + s * (1 - unl).log()).mean(), "fake": -(1 - gen).log().mean()},
            {"feature_matching": matched(g, 1)})


@of("vat", epsilon=1.5, xi=0.01)
@of("vat", "Colour16", model="conv-small", epsilon=2.5, entropy=0.3)
def vat(g):
    d = torch.randn_like(g.x_unl)
    length = 255 / g.D.pixels.divisor  # from black to white
    p = softmax(g.l(g.x_unl))
    r = (g.cfg.xi * length * unit(d)).requires_grad_()
    found, = grad(divergence(p.detach(), softmax(g.l(g.x_unl + r))), r)
    moved = softmax(g.l(g.x_unl + g.cfg.epsilon * length * unit(found)))
    return ({"supervised": -of_class(softmax(g.l(g.x_lab)), g.y_lab).log().mean(),
             "virtual_adversarial": divergence(p.detach(), moved), "entropy": g.cfg.entropy * entropy(p).mean()},)


@of("mean-teacher", input_noise=0.15, consistency=7.0, ramp_up=0.5)
@of("mean-teacher", input_noise=0.4)
@of("mean-teacher", "Colour16", model="conv-large", normalise=True)
def mean_teacher(g):
    def noisy(x):
        if g.cfg.normalise:
            x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), correction=0, keepdim=True)
        return x + g.cfg.input_noise * torch.randn(x.shape, dtype=torch.float64)

    lab, unl = (softmax(part) for part in g.l(noisy(torch.cat([g.x_lab, g.x_unl]))).split(8))
    told = softmax(g.nets["averaged"](noisy(g.x_again)).classes).detach()
    weight = g.cfg.consistency * math.exp(-5 * (1 - min(g.step / (g.cfg.ramp_up * g.cfg.steps), 1)) ** 2)
    return ({"supervised": -of_class(lab, g.y_lab).log().mean(),
             "consistency": weight * ((unl - told) ** 2).sum() / unl.numel()},)


@of("dcgan", confidence=0.8)
def dcgan(g):
    fixed, gen = g.real(g.G(g.z).detach()), g.real(g.G(g.z))
    return ({"real": -g.real(g.x_unl).log().mean(), "fake": -(0.8 * (1 - fixed).log() + 0.2 * fixed.log()).mean()},
            {"adversarial": -gen.log().mean()})


@of("cats-dogs", model="mlp")
def cats_dogs(g):
    """L_unl = 1/2 (-mean Z + mean sp(Z)), L_fake = 1/2 mean sp(Z(G)), L_lab = mean(-l_y + Z); L_G is L_unl of G."""
    def Z(x):
        return g.l(x).exp().sum(1).log()

    def sp(a):
        return (1 + a.exp()).log()

    def unlabelled(x):
        return 0.5 * (-Z(x).mean() + sp(Z(x)).mean())

    return ({"supervised": (-of_class(g.l(g.x_lab), g.y_lab) + Z(g.x_lab)).mean(), "real": unlabelled(g.x_unl),
             "fake": 0.5 * sp(Z(g.G(g.z).detach())).mean()}, {"adversarial": unlabelled(g.G(g.z))})


@of("supervised")
def supervised(g):
    return ({"supervised": -of_class(softmax(g.l(g.x_lab)), g.y_lab).log().mean()},)


def played(run, batch):
    """What a game is written in: the batch, the nets, and of images the K class logits, p(real), the K+1
    probabilities and the features."""
    D = run.state.nets["D"]

    def probabilities(x):
        real = torch.sigmoid(D(x).real)[:, None]
        return torch.cat([real * softmax(D(x).classes), 1 - real], 1)

    return SimpleNamespace(**batch._asdict(), cfg=run.cfg, nets=run.state.seen, D=D, G=run.state.nets.get("G"),
                           l=lambda x: D(x).classes, real=lambda x: torch.sigmoid(D(x).real), all=probabilities,
                           f=lambda x: D(x).features)


@pytest.mark.parametrize(("recipe", "dataset", "training", "changes", "printed"), GAMES)
def test_the_game_is_as_printed(recipe, dataset, training, changes, printed, build):
    run = build(recipe, dataset, **changes)
    for number in range(1 if training else len(run.players)):  # of a noisy game D's loss alone
        batch = in_double(run, number, training, step=2)._replace(y_unl=torch.tensor([2, -1, 0, -1, -1, 3, -1, -1]))
        torch.manual_seed(0)
        expected = printed(played(run, batch))[number]
        assert all(term.abs() > 1e-9 for term in expected.values())
        assert_as_printed(run, number, batch, expected)


def test_the_low_density_term_of_bad_gan_is_of_three_images_above_the_threshold(build):
    run = build("bad-gan")
    batch = in_double(run, 1)
    cfg = dataclasses.replace(run.cfg, density="a run", low_density=0.3)
    player, G = recipes.find("bad-gan").players(cfg)[1], run.state.nets["G"]
    assert player.terms == ("feature_matching", "low_density")
    log_p = G(batch.z).square().sum((1, 2, 3))
    middle = log_p[:3].median().detach()

    def density(x):
        return x.square().sum((1, 2, 3))

    density.threshold = middle
    found = player.loss({**run.state.seen, "density": density}, batch)["low_density"]
    expected = 0.3 * (log_p[:3].max() - middle) / 3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(*(grad(x, run.state.moves["G"], retain_graph=True) for x in (found, expected)))


def test_every_recipe_has_its_game_here_or_in_a_file_of_its_own():
    elsewhere = {"ssgan", "pixelcnn"}  # test_ssgan.py; test_pixelcnn.py: a likelihood
    assert {case.values[0] for case in GAMES} | elsewhere == recipes.RECIPES.keys()
