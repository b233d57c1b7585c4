"""cats-dogs: its labels, and what enters the running averages of its ResNet."""
import copy

import torch

import recipes
from config import Spec
from tests.steps import batch_of


def test_cats_and_dogs_take_50_labels_of_each_class():
    cfg = recipes.defaults(recipes.find("cats-dogs"), Spec("pets", (224, 224, 3), 3))
    assert (cfg.model, cfg.labels) == ("resnet18", 150)


def test_generated_images_stay_out_of_resnets_running_averages(build):
    run = build("cats-dogs", "Colour16")
    batch, D = batch_of(run, 0), run.state.nets["D"]
    kept = copy.deepcopy(D)
    for player in run.players:
        player.loss(run.state.nets, batch)
    kept(torch.cat([batch.x_lab, batch.x_unl]))
    torch.testing.assert_close(D.body.bn1.running_mean, kept.body.bn1.running_mean)
    assert D.body.bn1.num_batches_tracked == 1
