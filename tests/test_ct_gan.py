"""ct-gan: what its consistency compares."""
import pytest

from tests.steps import TOY, batch_of


@pytest.mark.parametrize(("model", "terms"), [("mlp", {"consistency"}),
                                              ("conv-small", {"consistency", "feature_consistency"})])
def test_the_consistency_of_ct_gan_is_of_the_dropout_alone(model, terms, build):
    run = build("ct-gan", TOY[model], model=model)
    seen = {}
    for name, training in (("dropout", True), ("none", False)):
        run.state.nets["D"].train(training)
        seen[name] = run.players[0].loss(run.state.nets, batch_of(run, 0))
    assert {term for term in seen["none"] if "consistency" in term} == terms
    for term in terms:
        assert seen["none"][term].item() < 1e-9 < seen["dropout"][term].item()
