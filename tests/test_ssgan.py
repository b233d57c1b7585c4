"""SSGAN-Tensorflow: its game as printed, its networks as formulas, its published generations by flag."""
import dataclasses

import numpy as np
import pytest
import torch

import datasets
import recipes
from config import Spec, UserError
from datasets import h5
from engine import command
from engine import run as engine_run
from models import dcgan, ssgan
from tests.conftest import toy_arrays
from tests.steps import assert_as_printed, in_double, steps

GENERATIONS = {"2017": "--model dcgan --n_z 100 --update_rate 5 --batch_size 64",
               "June 2017": "--outputs sigmoid --reconstruction_end 0.01"}


def games(run, number, step=0):
    """The player's batch in float64, the K+1 logits of images and the generator. In evaluation mode, so that images are
    judged one by one."""
    batch = in_double(run, number, step=step)
    D, G = (run.state.nets[name] for name in "DG")
    return batch, lambda x: D.head(D(x).features), G


@pytest.mark.parametrize(("confidence", "smoothing"), [(0.9, 0.0), (1.0, 0.1), (0.8, 0.25)])
def test_the_discriminator_of_the_softmax_is_smoothed_on_either_side(confidence, smoothing, build):
    run = build("ssgan", "Colour16", confidence=confidence, smoothing=smoothing)
    b, logits, G = games(run, 0)
    lab, unl, gen = (torch.softmax(logits(x), 1) for x in (b.x_lab, b.x_unl, G(b.z).detach()))
    assert lab.shape == (8, 5)
    of_its_class = torch.stack([p[y] / p[:4].sum() for p, y in zip(lab, b.y_lab, strict=True)])
    expected = {"supervised": -of_its_class.log().mean(),
                "real": (-(1 - smoothing) * (1 - unl[:, 4]).log() - smoothing * unl[:, 4].log()).mean(),
                "fake": sum(-(confidence * p[4].log() + sum((1 - confidence) / 4 * p[k].log() for k in range(4)))
                            for p in gen) / 8}
    assert_as_printed(run, 0, b, expected)


@pytest.mark.parametrize(("confidence", "smoothing"), [(0.9, 0.0), (1.0, 0.1)])
def test_the_discriminator_of_the_sigmoids_is_smoothed_on_either_side(confidence, smoothing, build):
    run = build("ssgan", "Colour16", outputs="sigmoid", confidence=confidence, smoothing=smoothing)
    b, logits, G = games(run, 0)
    lab, unl, gen = (1 / (1 + torch.exp(-logits(x))) for x in (b.x_lab, b.x_unl, G(b.z).detach()))
    each = [(p[k] if k == y else 1 - p[k]).log() for p, y in zip(lab, b.y_lab, strict=True) for k in range(4)]
    expected = {"supervised": -sum(each) / 32,
                "real": -((1 - smoothing) * (1 - unl[:, 4]).log() + smoothing * unl[:, 4].log()).mean(),
                "fake": -(confidence * gen[:, 4].log() + (1 - confidence) * (1 - gen[:, 4]).log()).mean()}
    assert_as_printed(run, 0, b, expected)


@pytest.mark.parametrize(("step", "weight"), [(0, 10), (100, 10 - 1 / 3 * 10), (299, 10 / 300), (300, 0), (5000, 0)])
@pytest.mark.parametrize("outputs", ["softmax", "sigmoid"])
def test_the_generator_is_pulled_to_real_images_at_first(outputs, step, weight, build):
    """Weights of 10 (1 - updates / 1500), where a step is 5 updates; of the sigmoids never below 0.01."""
    end = 0.01 if outputs == "sigmoid" else 0.0
    run = build("ssgan", "Colour16", outputs=outputs, update_rate=3, update_rate_d=2, reconstruction_end=end)
    b, logits, G = games(run, 1, step)
    images = G(b.z)
    raw = logits(images)
    away = (images - b.x_unl).abs()
    huber = torch.where(away <= 1, away**2 / 2, away - 0.5).mean()
    adversarial = (torch.softmax(raw, 1)[:, 4].log() if outputs == "softmax"
                   else -(1 - 1 / (1 + torch.exp(-raw[:, 4]))).log()).mean()
    assert away.max() > 1
    assert_as_printed(run, 1, b, {"adversarial": adversarial, "reconstruction": max(weight, end) * huber})


def test_sigmoids_need_an_output_of_fake(build):
    with pytest.raises(UserError, match=r"--outputs sigmoid: .*--head explicit"):
        build("ssgan", outputs="sigmoid", head="implicit")


def test_each_generation_is_a_set_of_flags(data_dir):
    text = " ".join(recipes.ssgan.__doc__.split())
    assert all(flags in text for flags in GENERATIONS.values())
    start = ["--recipe", "ssgan", "--dataset", "MNIST"]
    new = command.settings(start)
    assert (new.model, new.head, new.outputs, new.n_z, new.batch_size, new.update_rate, new.update_rate_d) == (
        "ssgan", "explicit", "softmax", 128, 32, 1, 1)
    assert (new.confidence, new.smoothing, new.clip, new.reconstruction, new.reconstruction_steps,
            new.reconstruction_end) == (0.9, 0.0, 20.0, 10.0, 1500, 0.0)
    old = command.settings([*start, *GENERATIONS["2017"].split()])
    first = command.settings([*start, *GENERATIONS["2017"].split(), *GENERATIONS["June 2017"].split()])
    assert (first.outputs, first.reconstruction_end) == ("sigmoid", 0.01)
    for cfg in (old, first):
        assert (cfg.model, cfg.n_z, cfg.update_rate, cfg.update_rate_d, cfg.batch_size) == ("dcgan", 100, 5, 1, 64)
        assert [player.times for player in recipes.ssgan.players(cfg)] == [1, 5]


def test_the_generation_of_2017_trains_the_networks_of_2017(build):
    run = build("ssgan", "Colour16", model="dcgan", n_z=100, update_rate=5, outputs="sigmoid", reconstruction_end=0.01)
    D, G = (run.state.nets[name] for name in "DG")
    assert (type(D), type(G)) == (dcgan.Discriminator, dcgan.Generator)
    assert D.head.out_features == 5
    assert G.prior(3, "cpu").shape == (3, 100)
    assert torch.tensor(steps(run, 2)).isfinite().all()


@pytest.mark.parametrize(("of_d", "of_g"), [(1, 3), (3, 1), (2, 3)])
def test_update_rates_go_either_way(of_d, of_g, build, monkeypatch):
    run = build("ssgan", "Colour16", update_rate_d=of_d, update_rate=of_g)
    fetched, fetch = [], run.pipeline.fetch
    monkeypatch.setattr(run.pipeline, "fetch", lambda *at, labelled: fetched.append(at) or fetch(*at, labelled))
    steps(run, 2)
    played = {name: int(next(iter(o.state.values()))["step"]) for name, o in run.state.optimisers.items()}
    assert played == {"D": 2 * of_d, "G": 2 * of_g}
    assert sorted(fetched) == [(0, n) for n in range(2 * of_d)] + [(1, n) for n in range(2 * of_g)]


def test_the_average_follows_every_update_of_the_discriminator(build):
    run = build("ssgan", "Colour16", update_rate_d=3, average=0.9)
    seen = []
    bias = run.state.nets["D"].head.bias
    run.state.optimisers["D"].register_step_post_hook(lambda *_: seen.append(bias.detach().clone()))
    steps(run, 2)
    shares = torch.tensor([0.1 * 0.9 ** (5 - i) for i in range(6)]) / (1 - 0.9**6)
    torch.testing.assert_close(run.state.averaged.head.bias, (torch.stack(seen) * shares[:, None]).sum(0))


def test_clipping_bounds_the_gradient(build):
    run = build("ssgan", clip=1e-3)
    player = run.players[0]
    assert player.clip == 1e-3
    captured = []
    run.state.optimisers["D"].register_step_pre_hook(lambda *_: captured.append(torch.stack(
        [p.grad.square().sum() for p in run.state.moves["D"] if p.grad is not None]).sum().sqrt()))
    steps(run, 1)
    assert captured[0] <= 1e-3 * 1.01


def convolved(x, layer):
    """A 3x3 convolution with a border of zeros."""
    x, w, (height, width) = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), layer.weight.detach().numpy(), x.shape[2:]
    return sum(np.einsum("bihw,oi->bohw", x[:, :, i:i + height, j:j + width], w[:, :, i, j])
               for i in range(3) for j in range(3)) + layer.bias.detach().numpy()[:, None, None]


def resized(x, sizes):
    """Bilinear, along one axis after the other: the value at the centre of a new pixel on the line through the centres
    of its two old neighbours; beyond the outermost centres the outermost value."""
    for axis, size in zip((2, 3), sizes, strict=True):
        old = x.shape[axis]
        at = [(i + 0.5) * old / size - 0.5 for i in range(size)]
        x = np.apply_along_axis(lambda line, at=at, old=old: np.interp(at, range(old), line), axis, x)
    return x


def scattered(x, layer):
    """Every old pixel laid on the new ones around twice its place."""
    w = layer.weight.detach().numpy()
    out = np.zeros((len(x), w.shape[1], 2 * x.shape[2] + 1, 2 * x.shape[3] + 1))
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            out[:, :, 2 * i:2 * i + 3, 2 * j:2 * j + 3] += np.einsum("bi,iokl->bokl", x[:, :, i, j], w)
    return out[:, :, 1:, 1:] + layer.bias.detach().numpy()[:, None, None]


UPSAMPLED = {"bilinear": lambda x, layer: convolved(resized(x, (2 * x.shape[2], 2 * x.shape[3])), layer),
             "nn": lambda x, layer: convolved(x.repeat(2, axis=2).repeat(2, axis=3), layer),
             "transpose": scattered}


@pytest.mark.parametrize("deconv_type", UPSAMPLED)
def test_upsampling_is_its_formula(deconv_type):
    torch.manual_seed(0)
    up = ssgan.Up(3, 2, deconv_type).double()
    torch.nn.init.normal_(up.conv.bias)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(up(x).detach(), torch.from_numpy(UPSAMPLED[deconv_type](x.numpy(), up.conv)))


@pytest.mark.parametrize(("norm_type", "over", "eps"), [("batch", (0, 2, 3), 1e-3), ("instance", (2, 3), 1e-6),
                                                        ("none", None, 0)])
def test_normalisation_is_its_formula(norm_type, over, eps):
    torch.manual_seed(0)
    nets = ssgan.build(Spec("a", (16, 16, 3), 4), "explicit", norm_type=norm_type)
    for norm, channels in ((nets["D"].double().body[2], 32), (nets["G"].double().up[5], 256)):
        x = 3 * torch.randn(4, channels, 5, 6, dtype=torch.float64) + 1
        scale, shift = torch.randn(2, channels, 1, 1, dtype=torch.float64)
        expected = x
        if over:
            with torch.no_grad():
                norm.weight.copy_(scale.flatten())
                norm.bias.copy_(shift.flatten())
            mean = x.mean(over, keepdim=True)
            expected = scale * (x - mean) / ((x - mean).square().mean(over, keepdim=True) + eps).sqrt() + shift
        torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize(("shape", "model"), [((28, 28, 1), "ssgan"), ((16, 45, 3), "ssgan"), ((300, 300, 3), "ssgan"),
                                              ((512, 20, 1), "ssgan"), ((8, 8, 1), "mlp"), ((15, 64, 3), "mlp")])
def test_images_from_16_pixels_take_convolutions(shape, model):
    assert recipes.defaults(recipes.find("ssgan"), Spec("any", shape, 10)).model == model


def test_an_image_that_is_not_square_is_resized_as_a_square_one():
    torch.manual_seed(0)
    G = ssgan.build(Spec("a", (19, 30, 3), 4))["G"].double().eval()
    z = G.prior(2, "cpu").double()
    maps = torch.nn.functional.leaky_relu(G.dense(z), 0.2)[:, :, None, None]
    square = torch.tanh(G.out(G.up(maps))).detach().numpy()
    assert square.shape == (2, 3, 32, 32)
    torch.testing.assert_close(G(z).detach(), torch.from_numpy(resized(square, (19, 30))))


@pytest.mark.parametrize("shape", [(19, 30, 1), (37, 21, 1), (8, 8, 1), (5, 2, 1)])
def test_the_discriminator_sees_every_pixel(shape):
    torch.manual_seed(0)
    D = ssgan.build(Spec("a", shape, 4), norm_type="none")["D"].double()
    x = torch.randn(1, 1, *shape[:2], dtype=torch.float64, requires_grad=True)
    D(x).classes.square().sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize("shape", [(19, 30, 3), (17, 17, 1)])
def test_it_trains_on_sizes_that_are_no_powers_of_two(shape, settings, tmp_path):
    h5.write(datasets.path("odd", tmp_path), toy_arrays(shape), "odd", tuple("abcd"), "made by the tests")
    cfg = recipes.defaults(recipes.find("ssgan"), datasets.spec("odd", tmp_path))
    assert cfg.model == "ssgan"
    run = engine_run.build(dataclasses.replace(settings("ssgan", model="ssgan"), dataset="odd", data_dir=tmp_path))
    assert torch.tensor(steps(run, 2)).isfinite().all()
