"""Runs on the toy data sets, moved step by step."""
import torch

import ops
from models import MODELS

TOY = {model: "Grey8" if model.startswith(("mlp", "pixelcnn")) else "Colour16" for model in MODELS}


def steps(run, count):
    """Train that many steps; the losses of each."""
    return [run.step().tolist() for _ in range(count)]


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
    return run.pipeline.batch(fetched, torch.zeros(()),
                              run.state.nets["G"].prior(8, "cpu") if "G" in run.state.nets else None)


def in_double(run, number, training=False, step=0):
    """The player's first batch as it were at that step, in float64, as the nets then are, too."""
    for net in run.state.seen.values():
        net.double().train(training)
    batch = batch_of(run, number)
    precise = {name: x.double() for name, x in batch._asdict().items() if x is not None and x.is_floating_point()}
    return batch._replace(**{**precise, "step": torch.tensor(float(step), dtype=torch.float64)})


def assert_as_printed(run, number, batch, expected):
    """The player's terms in float64, and their sum's gradients of the weights that it moves, are those expected."""
    player = run.players[number]
    torch.manual_seed(0)  # for what the loss itself draws
    found = player.loss(run.state.seen, batch)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    ours, theirs = (torch.autograd.grad(sum(terms.values()), run.state.moves[player.name], retain_graph=True)
                    for terms in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-11)


def without_noise(run):
    """Neither noise nor dropout is left in its nets."""
    for net in run.state.seen.values():
        for module in net.modules():
            if isinstance(module, ops.GaussianNoise):
                module.sigma = 0.0
            if isinstance(module, ops.Dropout | torch.nn.Dropout2d):
                module.p = 0.0


def normalises_batches(run):
    """Whether its discriminator has batch norm."""
    return any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in run.state.averaged.modules())


def judge_apart(patch):
    """Every batch of images is a call of its own of the discriminator, with all gradients."""
    patch.setattr(ops, "verdicts", lambda D, real, fake: [D(x) for x in (*real, fake)])
    patch.setattr(ops, "features", lambda D, fake, real: (D(fake).features, D(real).features))


def weights(run):
    nets = {**run.state.nets, "averaged": run.state.averaged}
    return {f"{name}.{key}": value.clone() for name, net in nets.items() for key, value in net.state_dict().items()}


def assert_bitwise(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
