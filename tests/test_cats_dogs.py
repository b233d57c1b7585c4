"""cats-dogs: its labels, its game as printed, and what enters the running averages of its ResNet."""
import copy

import torch

import recipes
from config import Spec
from tests.steps import batch_of


def test_cats_and_dogs_take_50_labels_of_each_class():
    cfg = recipes.defaults(recipes.find("cats-dogs"), Spec("pets", (224, 224, 3), 3))
    assert (cfg.model, cfg.labels) == ("resnet18", 150)


def test_the_game_of_cats_and_dogs_is_as_printed(build):
    """L_unl = 1/2 (-mean Z + mean sp(Z)), L_fake = 1/2 mean sp(Z(G)), L_lab = mean(-l_y + Z); L_G is L_unl of G."""
    run = build("cats-dogs", model="mlp")
    for net in run.state.nets.values():
        net.double().eval()
    batch = batch_of(run, 0)
    batch = batch._replace(x_lab=batch.x_lab.double(), x_unl=batch.x_unl.double(), z=batch.z.double())
    D, G = run.state.nets["D"], run.state.nets["G"]

    def logits(x):
        return D(x).classes

    def Z(x):
        return logits(x).exp().sum(1).log()

    def sp(a):
        return (1 + a.exp()).log()

    y = batch.y_lab
    expected = {"supervised": (-logits(batch.x_lab)[range(8), y] + Z(batch.x_lab)).mean(),
                "real": 0.5 * (-Z(batch.x_unl).mean() + sp(Z(batch.x_unl)).mean()),
                "fake": 0.5 * sp(Z(G(batch.z).detach())).mean()}
    adversarial = 0.5 * (-Z(G(batch.z)).mean() + sp(Z(G(batch.z))).mean())
    for player, terms in zip(run.players, (expected, {"adversarial": adversarial}), strict=True):
        found = player.loss(run.state.nets, batch)
        torch.testing.assert_close(found, terms, rtol=1e-9, atol=1e-12)
        ours, theirs = (torch.autograd.grad(sum(values.values()), run.state.moves[player.name], retain_graph=True)
                        for values in (found, terms))
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-12)


def test_generated_images_stay_out_of_resnets_running_averages(build):
    run = build("cats-dogs", "Colour16")
    batch, D = batch_of(run, 0), run.state.nets["D"]
    kept = copy.deepcopy(D)
    for player in run.players:
        player.loss(run.state.nets, batch)
    kept(torch.cat([batch.x_lab, batch.x_unl]))
    torch.testing.assert_close(D.body.bn1.running_mean, kept.body.bn1.running_mean)
    assert D.body.bn1.num_batches_tracked == 1
