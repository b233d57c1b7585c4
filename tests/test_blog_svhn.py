"""blog-svhn: which labels a step sees."""
import torch

from tests.steps import batch_of


def test_masked_labels_are_those_of_the_mixed_batch(build):
    masked, separate = (build("blog-svhn", labels_come=how) for how in ("masked", "separately"))
    batch = batch_of(masked, 0)
    shown = batch._replace(y_unl=torch.arange(8) % 4)
    other = batch._replace(x_lab=1 - batch.x_lab, y_lab=(batch.y_lab + 1) % 4)

    def class_loss(run, batch):
        torch.manual_seed(0)
        return run.players[0].loss(run.state.seen, batch)["supervised"]

    assert class_loss(masked, other) == class_loss(masked, batch)
    assert class_loss(masked, shown) != class_loss(masked, batch)
    assert class_loss(masked, batch._replace(y_unl=torch.full((8,), -1))) == 0
    assert class_loss(separate, other) != class_loss(separate, batch)
    assert class_loss(separate, shown) == class_loss(separate, batch)
