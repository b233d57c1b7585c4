"""The density model: what a pixel may see, the likelihood as the paper writes it, images drawn from it, and its run."""
import json
import math

import numpy as np
import pytest
import torch

import evaler
import losses
import ops
import trainer
from config import Spec, UserError
from engine import evaluate, report, state
from models import pixelcnn
from tests.runs import evaluated
from tests.steps import assert_as_printed, in_double

CPU = torch.device("cpu")


def model(shape=(8, 8, 1), **sizes):
    torch.manual_seed(0)
    P = pixelcnn.build(Spec("a", shape, 0), **sizes)["P"]
    height, width, colours = shape
    ops.data_init(P, 2 * torch.rand(20, colours, height, width) - 1)
    return P.double().eval()


def numbers(mixture, row, column):
    """All that is said of that pixel."""
    return torch.cat([field[..., row, column].flatten() for field in mixture])


@pytest.mark.parametrize(("shape", "sizes"), [((8, 8, 1), {}), ((7, 5, 3), {"blocks": 2}), ((9, 11, 1), {"levels": 3}),
                                              ((4, 3, 3), {"levels": 1})])
def test_a_pixel_is_predicted_from_those_before_it_alone(shape, sizes):
    height, width, colours = shape
    P = model(shape, **sizes)
    x = torch.rand(1, colours, height, width, dtype=torch.float64, requires_grad=True)
    mixture = P(x)
    for i in range(height * width):
        said = numbers(mixture, *divmod(i, width))
        (gradient,) = torch.autograd.grad((said * torch.randn_like(said)).sum(), x, retain_graph=True)
        seen = gradient.abs().sum((0, 1)).flatten()
        assert seen[i:].eq(0).all()
        row, column = divmod(i, width)
        for above, left in ((0, 1), (1, 1), (1, 0), (1, -1), (2, -1), (2, 1)):  # no blind spot near it
            if row >= above and 0 <= column - left < width:
                assert seen[(row - above) * width + column - left] > 0


def test_rows_below_do_not_change_what_is_said():
    P, x = model((9, 8, 1), levels=3), torch.rand(2, 1, 9, 8, dtype=torch.float64)
    for rows in range(1, 9):  # drawing passes the rows so far alone, of sizes that are halved upwards
        for ours, whole in zip(P(x[:, :, :rows]), P(x), strict=True):
            torch.testing.assert_close(ours, whole[..., :rows, :])


@pytest.mark.parametrize(("shape", "sizes"), [((32, 32, 3), {"filters": 16, "blocks": 5, "levels": 3, "mixtures": 10}),
                                              ((28, 28, 1), {"filters": 16, "blocks": 3, "levels": 2, "mixtures": 10})])
def test_layers_are_the_references(shape, sizes):
    """Counted after model.py of openai/pixel-cnn, with fewer filters."""
    F, n, levels, M = sizes["filters"], sizes["blocks"], sizes["levels"], sizes["mixtures"]

    def conv(inputs, outputs, area):
        return outputs * inputs * area + 2 * outputs  # with a scale and a bias

    def gated(area, aside):
        return conv(2 * F, F, area) + (conv(2 * aside, F, 1) if aside else 0) + conv(2 * F, 2 * F, area)

    colours = shape[2]
    start = sum(conv(colours + 1, F, area) for area in (6, 3, 2))
    there, back = gated(6, 0) + gated(4, F), gated(6, F) + gated(4, 2 * F)
    halve_and_double = 2 * (conv(F, F, 6) + conv(F, F, 4))
    head = conv(F, (10 if colours == 3 else 3) * M, 1)
    expected = start + levels * n * there + (levels * (n + 1) - 1) * back + (levels - 1) * halve_and_double + head
    assert sum(p.numel() for p in model(shape, **sizes).parameters()) == expected


@pytest.mark.parametrize(("shape", "sizes", "message"), [((8, 8, 2), {}, "1 or 3 channels; toy has 2"),
                                                         ((1, 2, 1), {}, "sizes from 4 up with --levels 2"),
                                                         ((8, 7, 1), {"levels": 3}, "sizes from 8 up")])
def test_images_that_it_does_not_take(shape, sizes, message):
    with pytest.raises(UserError, match=f"--model pixelcnn takes .*{message}"):
        pixelcnn.build(Spec("toy", shape, 0), **sizes)


def mixture_of(batch, colours, mixtures, height, width):
    """Random fields of LogisticMixture in float64, with a gradient."""
    torch.manual_seed(1)
    sizes = [(mixtures,), *[(colours, mixtures)] * 2, (colours * (colours - 1) // 2, mixtures)]
    logits, means, log_scales, coefficients = (torch.randn(batch, *size, height, width, dtype=torch.float64)
                                               for size in sizes)
    return [x.requires_grad_() for x in (logits, 0.5 * means, log_scales - 2, coefficients.tanh())]


def written_out(x, logits, means, log_scales, coefficients):
    """Salimans et al. 2017, eq. 1 to 3, image by image and pixel by pixel."""
    found = []
    for b in range(len(x)):
        total = 0
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                at = (b, slice(None), row, column)
                colours, pi = x[at], torch.softmax(logits[at], 0)
                p = 0
                for m in range(len(pi)):
                    mu = [means[b, c, m, row, column] for c in range(len(colours))]
                    if len(mu) == 3:
                        alpha, beta, gamma = coefficients[b, :, m, row, column]
                        mu[1] = mu[1] + alpha * colours[0]
                        mu[2] = mu[2] + beta * colours[0] + gamma * colours[1]
                    product = pi[m]
                    for c, value in enumerate(colours):
                        s = log_scales[b, c, m, row, column].exp()
                        high = 1.0 if value == 1 else torch.sigmoid((value + 1 / 255 - mu[c]) / s)
                        low = 0.0 if value == -1 else torch.sigmoid((value - 1 / 255 - mu[c]) / s)
                        product = product * (high - low)
                    p = p + product
                total = total + p.log()
        found.append(total)
    return torch.stack(found)


def test_the_loss_is_as_printed(build):
    run = build("pixelcnn", mixtures=2, batch_size=2)
    batch = in_double(run, 0)
    log_p = written_out(batch.x_unl, *run.state.nets["P"](batch.x_unl))
    assert_as_printed(run, 0, batch, {"bits_per_dimension": -log_p.mean() / math.log(2) / 64})


@pytest.mark.parametrize("colours", [1, 3])
def test_log_likelihood_is_the_papers(colours):
    mixture = mixture_of(2, colours, 4, 3, 2)
    levels = torch.randint(0, 256, (2, colours, 3, 2))
    levels[:, :, 0, 0], levels[:, :, 1, 1] = 0, 255
    x = (pixelcnn.PIXELS.from_bytes(levels).double() * 127.5).round() / 127.5
    x = torch.where(levels == 0, -1.0, torch.where(levels == 255, 1.0, x)).requires_grad_()
    ours, theirs = losses.log_likelihood(x, *mixture), written_out(x, *mixture)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    inputs = [x, *(mixture if colours == 3 else mixture[:3])]
    for a, b in zip(torch.autograd.grad(ours.sum(), inputs), torch.autograd.grad(theirs.sum(), inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_the_256_values_of_a_pixel_have_probability_1():
    logits, means, log_scales, coefficients = mixture_of(1, 1, 5, 1, 1)
    x = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None, None, None]
    log_p = losses.log_likelihood(x, *(f.expand(256, *f.shape[1:]) for f in (logits, means, log_scales, coefficients)))
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-9)
    assert log_p[[0, 255]].exp().min() > 0


def test_unlikely_values_keep_their_likelihood_and_its_gradient():
    """In float32 the difference of the two distribution functions is 0 here; its logarithm is about -d / s."""
    mean = torch.zeros(1, 1, 1, 1, 1, requires_grad=True)
    x = torch.full((1, 1, 1, 1), 0.5)
    log_p = losses.log_likelihood(x, torch.zeros(1, 1, 1, 1), mean, torch.full_like(mean, -7), mean[:, :0])
    (gradient,) = torch.autograd.grad(log_p.sum(), mean)
    scale = math.exp(-7)
    assert log_p.item() == pytest.approx((1 / 255 - 0.5) / scale, rel=0.01)
    assert gradient.item() == pytest.approx(1 / scale, rel=1e-3)


def test_bits_per_dimension():
    log_p = torch.tensor([-8 * math.log(2), -24 * math.log(2)], dtype=torch.float64)
    assert losses.bits_per_dimension(log_p, 4).item() == pytest.approx(4)
    uniform = torch.full((3,), -64 * math.log(256))
    assert losses.bits_per_dimension(uniform, 64).item() == pytest.approx(8)


def test_the_low_density_term_moves_images_as_the_papers_formula():
    log_p = torch.tensor([-5.0, -3.0, -1.0, -2.0], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(-2.5, dtype=torch.float64)
    ours, papers = losses.above_threshold(log_p, threshold), (log_p * (log_p > threshold)).mean()
    assert ours.item() == pytest.approx((1.5 + 0.5) / 4)
    torch.testing.assert_close(*(torch.autograd.grad(loss, log_p)[0] for loss in (ours, papers)))


def test_drawn_pixels_have_the_mixtures_distribution():
    torch.manual_seed(0)
    count = 40_000
    one = (torch.tensor([0.0, 1.0]), torch.tensor([[-0.9, 0.4]]), torch.tensor([[-2.0, -3.0]]), torch.zeros(0, 2))
    drawn = pixelcnn.PIXELS.to_bytes(pixelcnn.draw(*(f.expand(count, *f.shape) for f in one)))[:, 0]
    levels = pixelcnn.PIXELS.from_bytes(torch.arange(256)[:, None, None, None])
    p = losses.log_likelihood(levels, *(f.expand(256, *f.shape)[..., None, None] for f in one)).exp()
    shares = torch.bincount(drawn.long(), minlength=256) / count
    assert p[0] > 0.05  # an edge is among what is compared
    # Kolmogorov-Smirnov: beyond 1.95 / sqrt(count) once in a thousand
    assert (shares.cumsum(0) - p.cumsum(0)).abs().max() < 1.95 / math.sqrt(count)


def test_drawn_colours_follow_those_before_them():
    torch.manual_seed(0)
    means, coefficients = torch.tensor([0.2, 0.1, -0.3]), torch.tensor([0.5, 1.0, -0.5])
    fields = (torch.zeros(4, 1), means[:, None].expand(4, 3, 1), torch.full((4, 3, 1), -7.0),
              coefficients[:, None].expand(4, 3, 1))
    expected = torch.tensor([0.2, 0.1 + 0.5 * 0.2, -0.3 + 1.0 * 0.2 - 0.5 * 0.2])
    torch.testing.assert_close(pixelcnn.draw(*fields), expected.expand(4, 3), atol=0.03, rtol=0)


def test_evaluation_is_of_every_image_to_the_last(monkeypatch):
    P = model().float()
    images = np.random.RandomState(0).randint(0, 256, (7, 8, 8, 1), np.uint8)
    x = P.pixels.from_bytes(torch.from_numpy(images).permute(0, 3, 1, 2))
    with torch.no_grad():
        expected = -losses.log_likelihood(x, *P(x)).mean().item() / (64 * math.log(2))
    monkeypatch.setattr(evaluate, "PIXELS", 10 * 3 * 64)
    assert evaluate.bits_per_dimension(P.train(), images, CPU) == pytest.approx(expected, rel=1e-5)
    assert P.training


def test_training_lowers_the_bits_per_dimension(build):
    run = build("pixelcnn", learning_rate_d=1e-3)
    bits = [run.step()[0].item() for _ in range(25)]
    assert np.mean(bits[-5:]) < 0.95 * np.mean(bits[:3])


def test_the_average_follows_the_weights(build):
    run = build("pixelcnn", average=0.9)
    ours, seen = run.state.averaged.head.bias, []
    for _ in range(3):
        run.step()
        seen.append(run.state.nets["P"].head.bias.detach().clone())
    shares = torch.tensor([0.81, 0.9, 1.0]) / 2.71
    torch.testing.assert_close(ours, (torch.stack(seen) * shares[:, None]).sum(0))


def test_a_run_from_the_trainer_to_the_evaluator(data_dir, tmp_path, capsys):
    flags = ["--recipe=pixelcnn", "--dataset=Grey8", f"--data_dir={data_dir}", f"--train_dir={tmp_path}", "--steps=4",
             "--eval_every=2", "--log_every=2", "--batch_size=8", "--device=cpu"]
    assert trainer.main(flags) == 0
    folder, = tmp_path.iterdir()
    said = capsys.readouterr().out
    curves = report.curves(folder)
    assert set(curves) == {"loss/bits_per_dimension", "loss/p_loss", "bits_per_dimension/test",
                           "rate/steps_per_second"}
    found = evaluated(folder)
    assert found["bits_per_dimension"] == curves["bits_per_dimension/test"][1][-1]
    assert found["bits_per_dimension"] != found["bits_per_dimension_raw_weights"]
    assert f"step 4, test images {found['bits_per_dimension']:.4f} bits per dimension" in said
    assert f"step 4: test images {found['bits_per_dimension']:.4f} bits" in capsys.readouterr().out
    assert "accuracy" not in found
    drawn = {path.name for path in (folder / "eval").glob("*.png")}
    assert drawn == {"samples.png", "bits_per_dimension.png", "p_loss.png"}
    before = (folder / "eval" / "samples.png").read_bytes()
    evaler.main(["--checkpoint", str(folder)])
    assert (folder / "eval" / "samples.png").read_bytes() == before
    assert json.loads((folder / "config.json").read_text())["settings"]["labels"] == 0
    assert state.load(state.find(folder))["labelled"].tolist() == []


@pytest.mark.parametrize(("flags", "message"), [
    (["--recipe=pixelcnn", "--model=mlp"], "--model mlp: has no net P"),
    (["--recipe=supervised", "--model=pixelcnn", "--labels=8"], "--model pixelcnn: has no net D")])
def test_classifiers_are_no_density_models(flags, message, data_dir):
    with pytest.raises(UserError, match=message):
        trainer.main([*flags, "--dataset=Grey8", "--batch_size=8", f"--data_dir={data_dir}", "--dry_run"])
