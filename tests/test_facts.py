"""What re-implementations get wrong (figure/result/FACTS.md): the facts that no other test states, and that every
test named there exists."""
import re
from pathlib import Path

import pytest
import torch
from scipy.stats import kstest
from torch import nn

import ops
import recipes
from config import Spec
from models import MODELS
from tests.steps import steps

ROOT = Path(__file__).resolve().parents[1]
SPEC = Spec("toy", (16, 16, 3), 4)


def test_every_fact_has_a_test_or_a_reason():
    rows = re.findall(r"^\| (\d+) \| .* \| (.*) \|$", (ROOT / "figure/result/FACTS.md").read_text(), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 59))
    there = {name for path in (ROOT / "tests").glob("test_*.py") for name in re.findall(r"def (test_\w+)",
                                                                                     path.read_text())}
    for number, guard in rows:
        named = set(re.findall(r"test_\w+", guard))
        assert named or guard.startswith("no test: "), number
        assert named <= there, number


def test_features_of_the_mlp_are_before_their_noise():
    D = MODELS["mlp"](Spec("toy", (8, 8, 1), 4))["D"]
    x = torch.rand(5, 1, 8, 8)
    seen = []
    D.noise[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert torch.equal(D(x).features, seen[0])
    assert (seen[0] >= 0).all()


@pytest.mark.parametrize(("model", "low", "high"), [("mlp", 0, 1), ("conv-small", 0, 1), ("ssgan", -1, 1),
                                                    ("dcgan", -1, 1)])
def test_z_has_the_published_range(model, low, high):
    z = MODELS[model](SPEC)["G"].prior(500, "cpu")
    assert low <= z.min() < low + 0.01
    assert high - 0.01 < z.max() <= high


@pytest.mark.parametrize("model", ["blog", "resnet18"])
def test_z_is_normal_where_the_reference_has_it_so(model):
    z = MODELS[model](SPEC)["G"].prior(1000, "cpu")
    assert kstest(z.flatten(), "norm").pvalue > 1e-4


SALIMANS = (ops.Adam, (0.5, 0.999), (0.5, 0.999))
ADAM = (torch.optim.Adam, (0.5, 0.999), (0.5, 0.999))
OPTIMISERS = {
    "improved-gan": SALIMANS, "minibatch-gan": SALIMANS, "ct-gan": SALIMANS, "manifold-gan": SALIMANS,
    "catgan": SALIMANS, "sgan": SALIMANS, "supervised": SALIMANS[:2], "dcgan": ADAM, "ssgan": ADAM, "blog-svhn": ADAM,
    "cats-dogs": ADAM, "bad-gan": (torch.optim.Adam, (0.5, 0.9999), (0.0, 0.9999)),
    "vat": (torch.optim.Adam, (0.9, 0.999)), "mean-teacher": (torch.optim.Adam, (0.9, 0.999)),
    "pixelcnn": (ops.Adam, (0.95, 0.9995))}


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_optimisers_are_the_published_ones(recipe, build):
    kind, *betas = OPTIMISERS[recipe]
    optimisers = list(build(recipe).state.optimisers.values())
    assert [type(optimiser) for optimiser in optimisers] == [kind] * len(betas)
    assert [optimiser.param_groups[0]["betas"] for optimiser in optimisers] == betas


def test_on_colour_images_the_second_beta_of_bad_gan_is_the_usual_one(build):
    betas = [optimiser.param_groups[0]["betas"] for optimiser in build("bad-gan", "Colour16").state.optimisers.values()]
    assert betas == [(0.5, 0.999), (0.0, 0.999)]


@pytest.mark.parametrize(("recipe", "player"), [(name, player) for name, recipe in recipes.RECIPES.items()
                                                for player in recipe.nets if player in ("D", "G")])
def test_learning_rates_act(recipe, player, build):
    """Without a rate a player stands still, and the other one does not."""
    run = build(recipe, **{f"learning_rate_{player.lower()}": 0.0})
    before = {name: [p.clone() for p in net.parameters()] for name, net in run.state.nets.items()}
    steps(run, 2)
    moved = {name: any(not torch.equal(a, b) for a, b in zip(before[name], net.parameters(), strict=True))
             for name, net in run.state.nets.items()}
    assert moved == {name: name != player for name in moved}


def test_running_statistics_are_averaged_alike(build):
    run, seen = build("mean-teacher", "Colour16", average=0.9), []
    ours, followed = (next(m for m in D.modules() if isinstance(m, nn.BatchNorm2d))
                      for D in (run.state.averaged, run.state.nets["D"]))
    for _ in range(3):
        steps(run, 1)
        seen.append(followed.running_mean.clone())
    shares = torch.tensor([0.81, 0.9, 1.0]) / 2.71
    torch.testing.assert_close(ours.running_mean, (shares[:, None] * torch.stack(seen)).sum(0))
    assert not torch.equal(seen[0], seen[1])
