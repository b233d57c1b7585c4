"""mean-teacher: who teaches what."""
import torch

from tests.steps import batch_of


def test_the_teacher_is_the_averaged_classifier_on_the_other_view(build):
    run = build("mean-teacher")
    D, averaged = run.state.nets["D"].eval(), run.state.averaged.eval()  # without noise
    batch = batch_of(run, 0)._replace(step=torch.tensor(1e9))
    with torch.no_grad():
        for p in averaged.parameters():
            p.mul_(1.5)
    batch = batch._replace(x_again=1 - batch.x_again)
    student, teacher = (torch.softmax(net(x).classes, 1)
                        for net, x in ((D, batch.x_unl), (averaged, batch.x_again)))
    found = run.players[0].loss(run.state.seen, batch)["consistency"]
    torch.testing.assert_close(found, run.cfg.consistency * (student - teacher).square().mean(), rtol=1e-4, atol=1e-6)
