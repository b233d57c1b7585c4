"""improved-gan: its published settings, the terms on two passes, which networks have which norm, and the variations of
ImprovedGAN-pytorch."""
import numpy as np
import pytest
import torch

import datasets
import ops
import recipes
from config import UserError
from engine import command
from engine.run import resolve
from engine.step import Step, rate_factor
from models import MODELS
from tests.steps import TOY, assert_bitwise, batch_of, steps, weights

PORT = ("--epochs 100 --decay_from 1 --average 0 --learning_rate_g 0.003 --precision float32 --no_data_init "
        "--generator_output softplus --adam_eps outside --again_above 1")
EPOCH = 10  # steps of the toys' 80 images in batches of 8


def test_improved_gan_has_the_published_conv_settings(data_dir):
    cifar, svhn = (recipes.defaults(recipes.find("improved-gan"), datasets.spec(name, data_dir))
                   for name in ("CIFAR10", "SVHN"))
    assert (cifar.labels, cifar.epochs, cifar.batch_size, cifar.learning_rate_d, cifar.learning_rate_g,
            cifar.average) == (4000, 1200, 100, 3e-4, 3e-4, 0.9999)
    assert (svhn.labels, svhn.epochs) == (1000, 900)
    # lr = 3e-4 min(3 - e / 400, 1) of 1200 epochs of 500 steps, e / 300 of 900 epochs
    for cfg, per_epoch, flat in ((cifar, 500, 400), (svhn, 732, 300)):
        for epoch in (0, 1, 2 * flat - 1, 2 * flat + 1, 3 * flat - 1):
            step, total = epoch * per_epoch + per_epoch // 2, int(cfg.epochs) * per_epoch
            ours = rate_factor(step, total, per_epoch, cfg.decay_from)
            assert ours == pytest.approx(min(3 - epoch / flat, 1), abs=1e-9)


@pytest.mark.parametrize("epochs", [0.5, 1, 5, 9.9])
def test_rates_fall_to_nothing_in_a_short_run_too(epochs):
    steps = int(100 * epochs)
    rates = [rate_factor(step, steps, 100, 0.5) for step in (0, steps // 2, 3 * steps // 4, steps - 1)]
    assert rates == pytest.approx([1, 1, 0.5, 0], abs=0.05)


def test_terms_on_two_passes_of_which_one_is_warped(build, monkeypatch):
    plain, more = build(), build(consistency=5.0, warp=0.2, balance=0.3)
    assert [player.terms for player in plain.players] == [("supervised", "real", "fake"), ("feature_matching",)]
    for net in more.state.seen.values():
        net.eval()  # without noise
    batch, D = batch_of(more, 0), more.state.nets["D"]
    moved = ops.warped(batch.x_unl, 0.2)
    monkeypatch.setattr(ops, "warped", lambda images, share: moved if images is batch.x_unl and share == 0.2 else None)
    first, second = (torch.softmax(D(x).classes.double(), 1) for x in (batch.x_unl, moved))
    mean = torch.cat([first, second]).mean(0)
    expected = {"consistency": 5 * (first - second).square().sum() / first.numel(),
                "balance": 0.3 * (np.log(len(mean)) + (mean * mean.log()).sum())}
    terms = more.players[0].loss(more.state.seen, batch)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].double(), value, rtol=1e-4, atol=1e-8)
        assert terms[name] > 1e-4
    torch.testing.assert_close({name: terms[name] for name in plain.players[0].terms},
                               plain.players[0].loss(more.state.seen, batch))
    assert build(balance=0.3).players[0].terms == ("supervised", "real", "fake", "balance")


def test_labelled_images_are_warped_where_asked_for(build, monkeypatch):
    run = build(consistency=5.0, warp=0.2, warp_labelled=True)
    batch, D = batch_of(run, 0), run.state.nets["D"].eval()
    moved = {id(x): ops.warped(x, 0.2) for x in (batch.x_lab, batch.x_unl)}
    monkeypatch.setattr(ops, "warped", lambda images, share: moved[id(images)])
    expected = torch.nn.functional.cross_entropy(D(moved[id(batch.x_lab)]).classes, batch.y_lab)
    found = run.players[0].loss(run.state.seen, batch)["supervised"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert (found - torch.nn.functional.cross_entropy(D(batch.x_lab).classes, batch.y_lab)).abs() > 1e-3


def test_the_teacher_is_the_average_without_noise_and_the_weight_rises(build, monkeypatch):
    run = build(consistency=5.0, warp=0.2, teacher=True, ramp_up=0.5, steps=8, learning_rate_d=0.01, balance=0.3)
    steps(run, 2)  # the average is another net than D now
    batch, (D, teacher) = batch_of(run, 0), (run.state.seen[name] for name in ("D", "averaged"))
    D.eval()
    moved = ops.warped(batch.x_unl, 0.2)
    monkeypatch.setattr(ops, "warped", lambda *_: moved)
    student, first = (torch.softmax(D(x).classes.double(), 1) for x in (moved, batch.x_unl))
    taught = torch.softmax(teacher.eval()(batch.x_unl).classes.double(), 1)
    assert (taught - first).abs().max() > 1e-3
    teacher.train()
    for step, rise in ((0, np.exp(-5)), (2, np.exp(-5 / 4)), (4, 1), (8, 1)):
        terms = run.players[0].loss(run.state.seen, batch._replace(step=torch.tensor(float(step))))
        expected = 5 * rise * (student - taught).square().mean()
        torch.testing.assert_close(terms["consistency"].double(), expected, rtol=1e-4, atol=1e-8)
    gradient, = torch.autograd.grad(terms["consistency"], D.head.bias)
    expected, = torch.autograd.grad(5 * (torch.softmax(D(moved).classes, 1) - taught.float().detach()).square().mean(),
                                    D.head.bias)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-7)
    mean = torch.cat([first, student]).mean(0)
    uneven = np.log(len(mean)) + (mean * mean.log()).sum()
    torch.testing.assert_close(terms["balance"].double(), 0.3 * uneven, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("flags", "named"), [
    *[({name: value}, "give --consistency a weight")
      for name, value in (("teacher", True), ("ramp_up", 0.5), ("warp_labelled", True))],
    ({"warp_labelled": True, "consistency": 1.0}, "--warp_labelled: --warp says how far"),
    ({"teacher": True, "consistency": 1.0, "average": 0.0}, "--teacher: .* --average is 0")])
def test_a_teacher_that_there_is_not_is_refused(flags, named, build):
    with pytest.raises(UserError, match=named):
        build(**flags)


@pytest.mark.parametrize("given", [[], ["--consistency", "0"], ["--balance", "0"],
                                   ["--dataset", "digits", "--consistency", "0", "--balance", "0"]])
def test_the_warp_of_a_data_set_by_default_is_never_refused(given):
    assert resolve(command.settings(given)).warp == 0.15


@pytest.mark.parametrize("model", sorted(MODELS.keys() - {"pixelcnn"}))
def test_the_mlps_match_squares_and_conv_nets_absolute_values(model, settings):
    _, G = recipes.improved_gan.players(settings(dataset=TOY[model], model=model))
    fake, real = torch.randn(2, 8, 5, dtype=torch.float64)
    difference = [sum(fake[:, j]) / 8 - sum(real[:, j]) / 8 for j in range(5)]
    expected = sum(d**2 if model in ("mlp", "mlp-minibatch") else abs(d) for d in difference) / 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "features", lambda *_: (fake, real))
        found = G.loss({"D": None, "G": lambda z: None}, type("B", (), {"z": None, "x_unl": None}))
    torch.testing.assert_close(found["feature_matching"], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("model", ["mlp-minibatch", "conv-minibatch"])
def test_the_images_to_compare_with_are_those_of_the_initialisation(model, build):
    run = build(dataset=TOY[model], model=model)
    images, _ = run.pipeline.take("pool" if model == "mlp-minibatch" else "labelled", 0, 0, 100)
    assert torch.equal(run.state.nets["D"].reference, run.pipeline.pixels.from_bytes(images))


@pytest.mark.parametrize("recipe", ["improved-gan", "ct-gan", "bad-gan"])
def test_a_model_in_capitals_is_the_same_model(recipe, build):
    plain, capitals = build(recipe, model="mlp"), build(recipe, model="MLP")
    assert capitals.cfg == plain.cfg
    assert steps(capitals, 2) == steps(plain, 2)
    assert_bitwise(weights(capitals), weights(plain))


def test_the_port_to_pytorch_is_a_set_of_flags(data_dir):
    assert PORT in " ".join(recipes.improved_gan.__doc__.split())
    cfg = command.settings(["--dataset", "MNIST", *PORT.split()])
    assert (cfg.model, cfg.labels, cfg.batch_size, cfg.learning_rate_d, cfg.learning_rate_g, cfg.decay_from,
            cfg.average) == ("mlp", 100, 100, 0.003, 0.003, 1, 0)
    assert (cfg.data_init, cfg.generator_output, cfg.adam_eps, cfg.again_above) == (False, "softplus", "outside", 1)
    assert command.settings(["--dataset", "MNIST"]).data_init


def test_without_the_initialisation_scales_are_one(build):
    plain, bare = build(), build(data_init=False)
    x = batch_of(bare, 0).x_unl.double()
    D = bare.state.nets["D"].double().eval()
    h = x.flatten(1)
    for layer in D.hidden:
        v = layer.parametrizations.weight.original
        h = (h @ torch.stack([row / row.square().sum().sqrt() for row in v]).T).clamp(min=0)
    torch.testing.assert_close(D(x).features, h)
    assert not torch.allclose(plain.state.nets["D"].double().eval()(x).features, h)


@pytest.mark.parametrize("model", ["mlp-minibatch", "conv-minibatch"])
def test_images_to_compare_with_need_the_initialisation(model, build):
    with pytest.raises(UserError, match=f"--no_data_init: --model {model}"):
        build(dataset=TOY[model], model=model, data_init=False)


def test_a_softplus_makes_the_pixels(build):
    plain, soft = build(), build(generator_output="softplus")
    z = plain.state.nets["G"].prior(8, "cpu").double()
    found = {}
    for name, run in (("sigmoid", plain), ("softplus", soft)):
        G = run.state.nets["G"].double()
        seen = []
        G.out.register_forward_hook(lambda *args, seen=seen: seen.append(args[-1]))
        found[name] = G(z).flatten(1), seen[0]
    (sigmoid, a), (softplus, b) = found["sigmoid"], found["softplus"]
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(sigmoid, 1 / (1 + torch.exp(-a)))
    torch.testing.assert_close(softplus, (1 + torch.exp(b)).log())
    assert torch.tensor(steps(build(generator_output="softplus"), 2)).isfinite().all()


@pytest.mark.parametrize("model", ["mlp-minibatch", "conv-small"])
def test_a_softplus_of_other_networks_is_refused(model, build):
    with pytest.raises(UserError, match=f"--generator_output softplus: --model {model}"):
        build(dataset=TOY[model], model=model, generator_output="softplus")


def played(run, name):
    return int(next(iter(run.state.optimisers[name].state.values()))["step"])


def by_hand(w, gradients, eps, inside):
    """Adam with a rate of 0.01."""
    w, m, v = w.double(), 0, 0
    for t, g in enumerate(gradients, 1):
        m, v = 0.5 * m + 0.5 * g, 0.999 * v + 0.001 * g**2
        root = (v / (1 - 0.999**t) + (eps if inside else 0)).sqrt() + (0 if inside else eps)
        w = w - 0.01 * m / (1 - 0.5**t) / root
    return w


@pytest.mark.parametrize("adam_eps", ["inside", "outside"])
def test_eps_stands_inside_the_root_or_outside(adam_eps, build):
    run = build(adam_eps=adam_eps, learning_rate_d=0.01, learning_rate_g=0.01, decay_from=1.0)
    start, gradients = {}, {"D": [], "G": []}
    for name, seen in gradients.items():
        w = run.state.moves[name][0]
        start[name] = w.detach().clone()
        run.state.optimisers[name].register_step_pre_hook(lambda *_, w=w, seen=seen: seen.append(w.grad.double()))
    steps(run, 3)
    for name, seen in gradients.items():
        assert seen[0].abs().min() < 1e-4  # small beside the root of eps
        ours, other = (by_hand(start[name], seen, 1e-8, inside) for inside in (adam_eps == "inside",
                                                                              adam_eps != "inside"))
        moved = run.state.moves[name][0].detach().double()
        torch.testing.assert_close(moved, ours, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(moved, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("adam_eps", ["inside", "outside"])
def test_a_large_loss_of_the_generator_is_followed_by_another_update(adam_eps, build):
    run = build(again_above=1e-9, adam_eps=adam_eps, learning_rate_g=0.01, decay_from=1.0, steps=4 * EPOCH)
    D, G = run.players
    batches, gradients = [], []
    spy = G._replace(loss=lambda nets, b: batches.append(b) or G.loss(nets, b))
    w = run.state.moves["G"][0]
    start = w.detach().clone()
    step = Step(run.state, (D, spy), run.pipeline, {}, run.cfg)
    run.state.optimisers["G"].register_step_pre_hook(lambda *_: gradients.append(w.grad.double()))
    for _ in range(2 * EPOCH + 2):
        step()
    assert (played(run, "D"), played(run, "G")) == (2 * EPOCH + 2, 2 * EPOCH + 4)
    first, second = batches[-2:]
    assert torch.equal(first.x_unl, second.x_unl)
    assert not torch.equal(first.z, second.z)
    made = [g for number, g in enumerate(gradients) if number % 2 == 0 or number >= 4 * EPOCH]
    torch.testing.assert_close(w.detach().double(), by_hand(start, made, 1e-8, adam_eps == "inside"), rtol=1e-4,
                               atol=1e-5)


@pytest.mark.parametrize("adam_eps", ["inside", "outside"])
def test_a_small_loss_is_not(adam_eps, build):
    plain, patient = (build(again_above=above, adam_eps=adam_eps, steps=4 * EPOCH) for above in (0.0, 1e9))
    assert steps(plain, 2 * EPOCH + 3) == steps(patient, 2 * EPOCH + 3)
    assert_bitwise(weights(plain), weights(patient))


def test_the_threshold_is_of_the_weighted_loss(build):
    run = build(steps=4 * EPOCH)
    run.state.step = 2 * EPOCH
    loss = steps(run, 1)[0][-1]
    for factor, updates in ((0.5, 2), (2, 1)):
        again = build(steps=4 * EPOCH, again_above=3 * factor * loss, weight=("G/feature_matching=3",))
        again.state.step = 2 * EPOCH
        steps(again, 1)
        assert played(again, "G") == updates
