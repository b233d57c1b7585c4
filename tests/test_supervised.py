"""supervised: the classifier that it starts from, and its optimiser."""
import pytest
import torch

from config import UserError
from tests.steps import steps


@pytest.mark.parametrize(("recipe", "toy", "options"), [
    ("improved-gan", "Grey8", {}), ("mean-teacher", "Colour16", {"model": "conv-large", "normalise": True}),
    ("manifold-gan", "Colour16", {"model": "conv-small", "pool": "max", "scales": "trained"}),
    ("ssgan", "Colour16", {"model": "ssgan"}), ("cats-dogs", "Grey8", {"model": "mlp"})])
def test_supervised_starts_from_the_same_classifier(recipe, toy, options, build):
    options = {**options, "average": 0}
    head = {"head": "implicit"} if recipe == "ssgan" else {}
    gan, alone = build(recipe, toy, **options, **head), build("supervised", toy, **options)
    assert str(gan.state.nets["D"]) == str(alone.state.nets["D"])
    for name in ("pool", "normalise"):
        assert getattr(gan.state.nets["D"], name, "") == getattr(alone.state.nets["D"], name, "")
    for key, value in alone.state.nets["D"].state_dict().items():
        if "original" in key:  # scales and biases follow the images of the data-dependent init
            assert torch.equal(value, gan.state.nets["D"].state_dict()[key])


@pytest.mark.parametrize(("recipe", "toy", "changes"), [
    ("improved-gan", "Grey8", {}), ("ssgan", "Grey8", {"adam_eps": "outside"}),
    ("vat", "Grey8", {"adam_eps": "outside", "beta1": 0.9})])
def test_supervised_moves_as_the_classifier_of_a_recipe(recipe, toy, changes, build):
    ours, theirs = (run.state.optimisers["D"] for run in (build("supervised", toy, **changes), build(recipe, toy)))
    assert type(ours) is type(theirs)
    assert all(ours.param_groups[0][name] == theirs.param_groups[0][name] for name in ("betas", "eps", "fused"))


@pytest.mark.parametrize("setting", [{"beta1": 0.9}, {"adam_eps": "outside"}])
def test_settings_of_adam_are_refused_beside_sgd(setting, build):
    with pytest.raises(UserError, match="they are of Adam"):
        build("supervised", optimiser="sgd", **setting)


def test_sgd_moves_as_its_formula_says(build):
    """v <- 0.9 v + g + 0.0001 w, w <- w - rate v"""
    run = build("supervised", optimiser="sgd", learning_rate_d=0.01, decay_from=1.0)
    w, v = run.state.moves["D"][0], 0
    gradients = []
    run.state.optimisers["D"].register_step_pre_hook(lambda *_: gradients.append(w.grad.clone()))
    expected = w.detach().clone()
    steps(run, 3)
    for g in gradients:
        v = 0.9 * v + g + 1e-4 * expected
        expected = expected - 0.01 * v
    torch.testing.assert_close(w.detach(), expected)
