"""What re-implementations get wrong (figure/result/FACTS.md): the facts that no other test states, and that every
test named there exists."""
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import ops
import recipes
from config import Spec
from models import MODELS, ssgan
from tests.steps import batch_of, steps

ROOT = Path(__file__).resolve().parents[1]
SPEC = Spec("toy", (16, 16, 3), 4)


def quiet(run):
    """Its nets without noise."""
    for net in run.state.seen.values():
        net.eval()
    return run


def test_every_fact_has_a_test_or_a_reason():
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", (ROOT / "figure/result/FACTS.md").read_text(), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 59))
    there = {name for path in (ROOT / "tests").glob("test_*.py") for name in re.findall(r"def (test_\w+)",
                                                                                     path.read_text())}
    for number, guard in rows:
        named = set(re.findall(r"test_\w+", guard))
        assert named or guard.startswith("no test: "), number
        assert named <= there, number


@pytest.mark.parametrize("recipe", ["improved-gan", "ct-gan", "bad-gan", "minibatch-gan", "manifold-gan"])
def test_the_weights_of_the_terms_are_one_half_and_half(recipe, build):
    run = quiet(build(recipe))
    batch = batch_of(run, 0)
    D, G = run.state.nets["D"], run.state.nets["G"]
    found = run.players[0].loss(run.state.seen, batch)
    with torch.no_grad():
        labelled, real, fake = D(batch.x_lab), D(batch.x_unl), D(G(batch.z))
    expected = {"supervised": functional.cross_entropy(labelled.classes, batch.y_lab),
                "real": 0.5 * -torch.log(real.real.sigmoid()).mean(),
                "fake": 0.5 * -torch.log(1 - fake.real.sigmoid()).mean()}
    for name, value in expected.items():
        torch.testing.assert_close(found[name].detach(), value, rtol=1e-4, atol=1e-5)


def test_features_of_the_mlp_are_before_their_noise():
    D = MODELS["mlp"](Spec("toy", (8, 8, 1), 4))["D"]
    x = torch.rand(5, 1, 8, 8)
    seen = []
    D.noise[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert torch.equal(D(x).features, seen[0])
    assert (seen[0] >= 0).all()


DESCENDS = {"ssgan": lambda p: torch.log(1 - p), "minibatch-gan": lambda p: torch.log(1 - p),
            "sgan": lambda p: -torch.log(p), "dcgan": lambda p: -torch.log(p),
            "cats-dogs": lambda p: -0.5 * torch.log(p)}


@pytest.mark.parametrize("recipe", DESCENDS)
def test_what_each_generator_descends(recipe, build):
    run = quiet(build(recipe))
    batch = batch_of(run, 1)
    with torch.no_grad():
        p = run.state.nets["D"](run.state.nets["G"](batch.z)).real.sigmoid()
    found = run.players[1].loss(run.state.seen, batch)["adversarial"].detach()
    torch.testing.assert_close(found, DESCENDS[recipe](p).mean(), rtol=1e-4, atol=1e-5)


def test_ssgan_normalises_behind_the_activation():
    D = ssgan.build(SPEC)["D"]
    kinds = [type(layer) for layer in D.body][:3]
    assert kinds == [ops.SameConv2d, nn.LeakyReLU, nn.BatchNorm2d]
    G = MODELS["conv-small"](SPEC)["G"]
    assert [type(layer) for layer in G.up][:3] == [nn.ConvTranspose2d, ops.ShiftBatchNorm, nn.ReLU]


@pytest.mark.parametrize(("model", "momentum"), [("ssgan", 0.01), ("blog", 0.01), ("conv-large", 0.01), ("dcgan", 0.1)])
def test_running_averages_follow_as_slowly_as_tensorflows(model, momentum):
    norms = [m for m in MODELS[model](SPEC)["D"].modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert {norm.momentum for norm in norms} == {momentum}


@pytest.mark.parametrize(("model", "low", "high"), [("mlp", 0, 1), ("conv-small", 0, 1), ("ssgan", -1, 1),
                                                    ("dcgan", -1, 1)])
def test_z_has_the_published_range(model, low, high):
    z = MODELS[model](SPEC)["G"].prior(500, "cpu")
    assert low <= z.min() < low + 0.01
    assert high - 0.01 < z.max() <= high


def test_betas_are_the_published_ones(build):
    for recipe, expected in (("improved-gan", (0.5, 0.5)), ("ssgan", (0.5, 0.5)), ("bad-gan", (0.5, 0.0)),
                             ("cats-dogs", (0.5, 0.5))):
        optimisers = build(recipe).state.optimisers
        assert tuple(optimisers[name].param_groups[0]["betas"][0] for name in "DG") == expected
    assert build("bad-gan").state.optimisers["D"].param_groups[0]["betas"][1] == 0.9999


@pytest.mark.parametrize("recipe", [name for name, recipe in recipes.RECIPES.items() if name != "pixelcnn"])
def test_learning_rates_act(recipe, build):
    still = build(recipe, learning_rate_d=0.0)
    before = [p.clone() for p in still.state.nets["D"].parameters()]
    steps(still, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, still.state.nets["D"].parameters(), strict=True))


def test_running_statistics_are_averaged_alike(build):
    run = build("mean-teacher", "Colour16", average=0.9)
    steps(run, 2)
    ours, followed = (next(m.running_mean for m in D.modules() if isinstance(m, nn.BatchNorm2d))
                      for D in (run.state.averaged, run.state.nets["D"]))
    start = build("mean-teacher", "Colour16").state.nets["D"]
    first = next(m for m in start.modules() if isinstance(m, nn.BatchNorm2d))
    assert not torch.equal(ours, followed)
    assert not torch.equal(ours, first.running_mean)
