"""Runs on the toy data sets, moved step by step."""
import torch

from models import MODELS

TOY = {model: "Grey8" if model.startswith(("mlp", "pixelcnn")) else "Colour16" for model in MODELS}


def steps(run, count):
    """Train that many steps; the losses of each."""
    return [torch.stack(run.step()).tolist() for _ in range(count)]


def scheduled_steps(run, count):
    """The same with the learning rates of the schedule."""
    losses = []
    for _ in range(count):
        run.state.set_rates(run.rate())
        losses += steps(run, 1)
    return losses


def batch_of(run, number):
    """The first batch of that player."""
    fetched = run.pipeline.fetch(number, 0)
    return run.pipeline.batch(*fetched, torch.zeros(()),
                              run.state.nets["G"].prior(8, "cpu") if "G" in run.state.nets else None)


def weights(run):
    nets = {**run.state.nets, "averaged": run.state.averaged}
    return {f"{name}.{key}": value.clone() for name, net in nets.items() for key, value in net.state_dict().items()}


def assert_bitwise(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
