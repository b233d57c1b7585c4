"""Layers against their formulas, and against the library where it has the same one."""
import copy
from functools import partial

import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn import functional

import ops

LAYERS = {"linear": (lambda: nn.Linear(6, 4), (64, 6)),
          "conv": (lambda: nn.Conv2d(3, 4, 3), (16, 3, 8, 8)),
          "deconv": (lambda: nn.ConvTranspose2d(3, 4, 5, 2, 2, 1), (16, 3, 8, 8))}
layers = pytest.mark.parametrize("kind", LAYERS)


@layers
def test_weight_norm_is_the_librarys_but_for_the_frozen_scale(kind):
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    ours = ops.weight_norm(make(), std=0.1, eps=0.0, train_scale=True)
    library = nn.utils.parametrizations.weight_norm(make(), dim=1 if kind == "deconv" else 0)
    library.parametrizations.weight.original1.data.copy_(ours.parametrizations.weight.original.data)
    library.parametrizations.weight.original0.data.fill_(1)
    library.bias.data.zero_()
    x = torch.randn(shape)
    torch.testing.assert_close(ours(x), library(x))
    frozen = ops.weight_norm(make(), std=0.1)
    assert not any("scale" in name for name, _ in frozen.named_parameters())
    assert any("scale" in name for name in frozen.state_dict())


@layers
@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_weight_norm_and_its_gradient_are_the_formula(kind, eps):
    layer = ops.weight_norm(LAYERS[kind][0]().double(), std=0.1, eps=eps, train_scale=True)
    norm, v = layer.parametrizations.weight[0], layer.parametrizations.weight.original
    scale = torch.rand_like(norm.scale) + 0.5
    norm.scale.data.copy_(scale)
    upstream = torch.randn_like(v)
    gradients = torch.autograd.grad(layer.weight, [v, norm.scale], upstream)
    formula = scale.requires_grad_() * v / (v.square().sum(norm.inputs, keepdim=True) + eps).sqrt()
    torch.testing.assert_close(layer.weight, formula)
    torch.testing.assert_close(gradients, torch.autograd.grad(formula, [v, scale], upstream))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_noise_is_normal_and_follows_torchs_seed(dtype):
    torch.manual_seed(6)
    noise = ops.normal_like(torch.empty(301, 1001, dtype=dtype))
    assert noise.dtype == dtype
    assert noise.shape == (301, 1001)
    z = noise.double()
    assert abs(z.mean()) < 5 / 301_301**0.5
    assert abs(z.square().mean() - 1) < 5 * (2 / 301_301) ** 0.5
    assert scipy.stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-3
    assert abs((z[:-1] * z[1:]).mean()) < 5 / 300_300**0.5
    second = ops.normal_like(noise)
    assert abs((z * second.double()).mean()) < 5 / 301_301**0.5
    torch.manual_seed(6)
    assert torch.equal(ops.normal_like(noise), noise)


def test_noise_has_its_deviation_in_training_alone():
    noise, x = ops.GaussianNoise(0.3), torch.full((100, 1000), 5.0)
    torch.testing.assert_close(noise(x).std().item(), 0.3, atol=0.005, rtol=0)
    assert noise.eval()(x) is x


def test_weight_norm_puts_eps_inside_the_root():
    layer = ops.weight_norm(nn.Linear(2, 1), std=0.1, eps=0.5)
    layer.parametrizations.weight.original.data.copy_(torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(layer.weight, torch.tensor([[1.0, 2.0]]) / 5.5**0.5)


@layers
@pytest.mark.parametrize("std", [1.0, 0.1])
def test_data_init_standardises_each_unit(kind, std):
    make, shape = LAYERS[kind]
    torch.manual_seed(1)
    layer = ops.weight_norm(make(), std=0.05, init_std=std)
    x = torch.randn(shape) * 3 + 1
    ops.data_init(layer, x)
    outputs = layer(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(outputs.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.std(1, correction=0), torch.full((4,), std), atol=1e-4, rtol=0)


def test_data_init_is_sequential_and_leaves_other_layers_alone():
    torch.manual_seed(2)
    net = nn.Sequential(ops.weight_norm(nn.Linear(5, 8), std=0.1), nn.ReLU(), ops.weight_norm(nn.Linear(8, 3), std=0.1),
                        ops.weight_norm(nn.Linear(3, 3), std=0.1, init_std=None))
    before = copy.deepcopy(net[3].state_dict())
    x = torch.randn(400, 5)
    ops.data_init(net, x)
    outputs = net[2](functional.relu(net[0](x)))
    torch.testing.assert_close(outputs.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert all(torch.equal(before[name], value) for name, value in net[3].state_dict().items())


def test_normalised_images_have_mean_0_and_deviation_1():
    images = torch.rand(4, 3, 5, 6, dtype=torch.float64)
    mean, deviation = (f(images, (1, 2, 3), keepdim=True) for f in (torch.mean, partial(torch.std, correction=0)))
    torch.testing.assert_close(ops.normalised(images), (images - mean) / deviation)
    assert not ops.normalised(torch.full((1, 3, 2, 2), 0.7)).any()


def test_adam_has_eps_inside_the_root():
    torch.manual_seed(3)
    start, gradients = torch.randn(5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64) * 1e-4
    weight = nn.Parameter(start.clone())
    optimiser = ops.Adam([weight], lr=0.01, betas=(0.5, 0.999), eps=1e-8)
    theirs, m, v = start.clone(), torch.zeros(5).double(), torch.zeros(5).double()
    for t, gradient in enumerate(gradients, 1):
        weight.grad = gradient.clone()
        optimiser.step()
        m, v = 0.5 * m + 0.5 * gradient, 0.999 * v + 0.001 * gradient**2
        theirs -= 0.01 * (m / (1 - 0.5**t)) / (v / (1 - 0.999**t) + 1e-8).sqrt()
        torch.testing.assert_close(weight.data, theirs, rtol=1e-9, atol=1e-12)


def test_adam_skips_an_update_as_if_it_had_not_been():
    torch.manual_seed(3)
    gradients = 1e-5 * torch.randn(4, 5)  # small beside the root of eps
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    for weight, skips in ((ours, {1, 2}), (theirs, set())):
        optimiser = ops.Adam([weight], lr=0.1, betas=(0.5, 0.999))
        for t, gradient in enumerate(gradients):
            if weight is theirs and t in {1, 2}:
                continue
            optimiser.found_inf = torch.tensor(float(t in skips))
            weight.grad = gradient.clone()
            optimiser.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, torch.ones(5))


def test_compiled_adam_is_adam(monkeypatch):
    """As it is on a GPU, with the rate in a tensor; but for the code that a compiler would make."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch.manual_seed(0)
    sets = [[nn.Parameter(torch.ones(shape)) for shape in ((4, 3), (5,))] for _ in range(2)]
    plain, compiled = (ops.Adam(ps, 1e-2, (0.5, 0.999)) for ps in sets)
    compiled.param_groups[0].update(lr=torch.tensor(1e-2), capturable=True)
    compiled.compile()
    for _ in range(3):
        for ours, theirs in zip(*sets, strict=True):
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        plain.step()
        compiled.step()
    torch.testing.assert_close(*sets)
    assert (sets[1][0] - 1).abs().max() > 0.01
    torch._dynamo.reset()


def test_adam_moves_nothing_on_a_zero_gradient():
    weight = nn.Parameter(torch.ones(3))
    optimiser = ops.Adam([weight], lr=0.1, betas=(0.5, 0.999))
    weight.grad = torch.zeros(3)
    optimiser.step()
    assert torch.equal(weight.data, torch.ones(3))


@pytest.mark.parametrize(("size", "kernel", "before", "after"),
                         [(32, 3, 0, 1), (28, 3, 0, 1), (7, 3, 1, 1), (32, 5, 1, 2), (7, 5, 2, 2), (2, 3, 0, 1)])
def test_same_padding_is_tensorflows(size, kernel, before, after):
    assert ops.same_padding(size, kernel, 2) == (before, after)
    assert ops.SameConv2d(1, 1, kernel, 2)(torch.zeros(1, 1, size, size)).shape[-1] == (size + 1) // 2


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width", "kernel"), [(6, 7, 3), (7, 6, 3), (6, 7, 5), (8, 8, 5), (5, 5, 3)])
def test_same_conv_is_the_convolution_of_the_padded_image(height, width, kernel, stride):
    layer, x = ops.SameConv2d(2, 3, kernel, stride).double(), torch.randn(4, 2, height, width, dtype=torch.double)
    padded = functional.pad(x, [n for size in (width, height) for n in ops.same_padding(size, kernel, stride)])
    torch.testing.assert_close(layer(x), functional.conv2d(padded, layer.weight, layer.bias, stride))


def test_shift_batch_norm_uses_batch_statistics_in_evaluation_too():
    norm = ops.ShiftBatchNorm(3).eval()
    out = norm(torch.randn(50, 3) * 4 + 2)
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


class Judge(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(4, 6), norm, nn.ReLU()), nn.Linear(6, 3)

    def forward(self, x):
        features = self.body(x)
        return ops.verdict(self.head(features), features, 3)


def test_one_call_gives_what_three_calls_give():
    torch.manual_seed(4)
    D = Judge(nn.Identity())
    batches = [torch.randn(n, 4) for n in (3, 5, 2)]
    for ours, x in zip(ops.verdicts(D, batches[:2], batches[2]), batches, strict=True):
        for a, b in zip(ours, D(x), strict=True):
            torch.testing.assert_close(a, b)


def test_generated_images_do_not_enter_running_statistics():
    torch.manual_seed(5)
    D, twin = Judge(nn.BatchNorm1d(6)), Judge(nn.BatchNorm1d(6))
    twin.load_state_dict(D.state_dict())
    real, fake = [torch.randn(3, 4), torch.randn(5, 4)], torch.randn(8, 4) + 10
    verdicts = ops.verdicts(D, real, fake)
    twin(torch.cat(real))
    assert all(torch.equal(a, b) for a, b in zip(D.buffers(), twin.buffers(), strict=True))
    torch.testing.assert_close(verdicts[2].real, twin(fake).real)  # yet normalised by their own statistics


def test_pixels_there_and_back():
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    for pixels in (ops.Pixels(0, 255), ops.Pixels(127.5, 127.5), ops.Pixels(127.5, 128)):
        assert torch.equal(pixels.to_bytes(pixels.from_bytes(every)), every)


def test_no_classes_leaves_one_logit_for_real():
    raw = torch.randn(4, 1)
    verdict = ops.verdict(raw, raw, 0)
    assert verdict.classes.shape == (4, 0)
    assert torch.equal(verdict.real, raw[:, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.2, 0.5])
def test_dropout_drops_its_share_of_elements_and_scales_the_others(p, dtype):
    torch.manual_seed(0)
    layer = ops.Dropout(p)
    for shape in ((500, 400), (50, 8, 20, 25)):
        x = torch.randn(shape).to(dtype)
        if x.dim() == 4:
            x = x.to(memory_format=torch.channels_last)
        y = layer(x.requires_grad_())
        kept = y != 0
        torch.testing.assert_close(y[kept], x[kept] / (1 - p))
        assert kept.double().mean().item() == pytest.approx(1 - p, abs=5 * (p * (1 - p) / x.numel()) ** 0.5)
        assert kept.double().mean([0, *range(2, x.dim())]).std() < 0.1  # in no channel more than in another
        assert y.stride() == x.stride()
        y.sum().backward()
        torch.testing.assert_close(x.grad, kept / torch.tensor(1 - p, dtype=dtype))
        assert not torch.equal(layer(x) != 0, layer(x) != 0)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("make", [lambda: ops.Dropout(0.4), lambda: nn.Dropout2d(0.4), lambda: ops.GaussianNoise(0.5)])
def test_repeated_noise_is_drawn_once(make):
    net = nn.Sequential(nn.Conv2d(3, 50, 1), make())
    x, other = torch.randn(2, 20, 3, 2, 2)
    with ops.noise_repeated(net):
        first, again, moved = net(x), net(x), net(other)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    clean = [net[0](v) for v in (x, other)]
    change = torch.sub if isinstance(net[1], ops.GaussianNoise) else torch.div
    torch.testing.assert_close(change(first, clean[0]), change(moved, clean[1]), rtol=1e-4, atol=1e-4)
    assert not torch.equal(net(x), net(x))
    torch.testing.assert_close(net.eval()(x), clean[0])


@pytest.mark.parametrize("sizes", [((4, 5), (8, 10)), ((1, 1), (2, 2)), ((32, 32), (19, 30)), ((6, 6), (6, 6))])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_resize_and_its_gradient_are_the_librarys(sizes, dtype):
    before, after = sizes
    x = torch.randn(2, 3, *before, dtype=dtype, requires_grad=True)
    library = nn.functional.interpolate(x, after, mode="bilinear", align_corners=False)
    with torch.autocast("cpu", torch.bfloat16):
        ours = ops.resized(x, after)
    torch.testing.assert_close(ours, library)
    upstream = torch.randn_like(library)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, upstream)[0] for y in (ours, library)))
