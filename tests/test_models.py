"""Every pair of networks: shapes, initial statistics, and the parameter counts of the reference code."""
import inspect

import pytest
import torch
from torch import nn

import ops
from config import Spec, UserError
from models import MODELS

SHAPES = {model: (28, 28, 1) if model.startswith("mlp") else (32, 32, 3) for model in MODELS}
COUNTS = [("mlp", "MNIST", (28, 28, 1), 1_538_770, 694_568),
           ("conv-small", "CIFAR10", (32, 32, 3), 1_406_804, 4_933_382),
           ("conv-small", "SVHN", (32, 32, 3), 626_580, 4_933_382),
           ("conv-wide", "CIFAR10", (32, 32, 3), 3_119_764, 4_523_782),
           ("conv-large", "CIFAR10", (32, 32, 3), 3_121_802, 4_933_382),
           ("conv-large", "SVHN", (32, 32, 3), 3_121_822, 4_933_382),
           ("blog", "SVHN", (32, 32, 3), 446_730, 465_795), ("ssgan", "a", (28, 28, 1), 996_555, 6_420_417),
          ("ssgan", "a", (32, 32, 3), 997_131, 6_420_483), ("ssgan", "a", (64, 64, 3), 2_228_235, 6_425_091)]
# Of T, log_scale, bias and the longer rows of the last layer: F features give 500 F + 500 + 100 + 100 * 10 more. Affine
# batch norms have one number more for each of 8192 + 256 + 128 units.
COUNTS += [("mlp-minibatch", "MNIST", (28, 28, 1), 1_538_770 + 125_000 + 1_600, 694_568),
           ("conv-minibatch", "CIFAR10", (32, 32, 3), 1_406_804 + 96_000 + 1_600, 4_933_382),
           ("conv-minibatch", "SVHN", (32, 32, 3), 1_406_804 + 96_000 + 1_600, 4_933_382),
           ("conv-badgan", "CIFAR10", (32, 32, 3), 1_406_804, 4_933_382 + 8_576),
           ("conv-badgan", "SVHN", (32, 32, 3), 626_580, 4_933_382 + 8_576)]
# Of the reference without labels: 9 more outputs of D's dense layer, and the affine norms of G, which there were dead.
COUNTS += [("dcgan", "MNIST", (28, 28, 1), 259_521 + 9 * 2049, 65_248 + 2 * (100 + 25 + 6)),
           ("dcgan", "SVHN", (32, 32, 3), 1_034_241 + 9 * 4097, 1_078_595 + 2 * (384 + 128 + 64))]
COUNTS += [("resnet18", "a", (224, 224, 3), 11_181_642, 5_266_304)]
every_model = pytest.mark.parametrize("name", [name for name in MODELS if name != "pixelcnn"])  # has its own tests


def pair(name, head="implicit", classes=10, **options):
    torch.manual_seed(0)
    return MODELS[name](Spec("a", SHAPES[name], classes), head, **options)


@pytest.mark.parametrize(("name", "dataset", "shape", "d", "g"), COUNTS)
def test_parameter_counts_are_the_references(name, dataset, shape, d, g):
    nets = MODELS[name](Spec(dataset, shape, 10), "explicit" if name == "ssgan" else "implicit")
    assert [sum(p.numel() for p in nets[net].parameters()) for net in "DG"] == [d, g]


@every_model
@pytest.mark.parametrize("head", ["implicit", "explicit"])
def test_shapes_and_range(name, head):
    nets = pair(name, head, classes=7)
    D, G = nets["D"], nets["G"]
    images = G(G.prior(3, "cpu"))
    height, width, channels = SHAPES[name]
    assert images.shape == (3, channels, height, width)
    low, high = (D.pixels.from_bytes(torch.tensor([0, 255], dtype=torch.uint8))).tolist()
    assert images.min() >= min(low, -1)
    assert images.max() <= max(high, 1)
    verdict = D(images)
    assert verdict.classes.shape == (3, 7)
    assert verdict.real.shape == (3,)
    assert verdict.features.dim() == 2
    z_is_real = torch.allclose(verdict.real, torch.logsumexp(verdict.classes, 1))
    assert z_is_real == (head == "implicit")


@every_model
def test_evaluation_is_deterministic_and_sees_one_image_as_in_a_batch(name):
    D = pair(name)["D"].eval()
    height, width, channels = SHAPES[name]
    x = torch.rand(4, channels, height, width)
    assert torch.equal(D(x).classes, D(x).classes)
    torch.testing.assert_close(D(x[:1]).classes, D(x).classes[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "last"), [("mlp", 1.0), ("conv-small", 0.1), ("conv-wide", 0.1),
                                            ("conv-badgan", 0.1), ("conv-minibatch", 0.1), ("mlp-minibatch", 1.0)])
def test_data_init_gives_standard_pre_activations(name, last):
    D = pair(name)["D"]
    height, width, channels = SHAPES[name]
    x = torch.rand(200, channels, height, width)
    torch.manual_seed(7)
    ops.data_init(D, x)
    seen = {}

    def look(layer, _, outputs):
        seen[layer] = outputs.transpose(0, 1).flatten(1)

    layers = [m for m in D.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer in layers:
        layer.register_forward_hook(look)
    torch.manual_seed(7)
    D.train()(x)
    for layer in layers:
        std = last if layer is layers[-1] else 1.0
        torch.testing.assert_close(seen[layer].mean(1), torch.zeros(len(seen[layer])), atol=2e-3, rtol=0)
        deviation = seen[layer].std(1, correction=0)
        torch.testing.assert_close(deviation, torch.full_like(deviation, std), rtol=1e-2, atol=0)


@pytest.mark.parametrize("pool", ["average", "max"])
def test_the_features_of_conv_small_are_pooled_maps(pool):
    D = pair("conv-small", pool=pool)["D"].eval()
    x = torch.rand(2, 3, 32, 32)
    maps = D.body(x).flatten(2)
    torch.testing.assert_close(D(x).features, maps.max(2).values if pool == "max" else maps.mean(2))


def test_scales_of_conv_small_are_all_trained_where_its_recipe_trains_them():
    for scales, trained in (("standardised", 1), ("trained", 10)):
        D = pair("conv-small", scales=scales)["D"]
        norms = [m for m in D.modules() if isinstance(m, ops.WeightNorm)]
        assert sum(isinstance(norm.scale, nn.Parameter) for norm in norms) == trained
        assert all((norm.scale == 1).all() for norm in norms)


def test_a_normalising_conv_large_does_not_see_how_bright_an_image_is():
    x = torch.rand(3, 3, 32, 32) - 0.5
    other = x * torch.tensor([0.3, 1, 2]).view(3, 1, 1, 1) + torch.tensor([0.2, -0.4, 0]).view(3, 1, 1, 1)
    seen, same = (pair("conv-large", normalise=True)["D"].eval()(a).classes for a in (x, other))
    torch.testing.assert_close(same, seen, rtol=1e-3, atol=1e-5)
    plain, changed = (pair("conv-large")["D"].eval()(a).classes for a in (x, other))
    assert (plain - changed).abs().max() > 0.1


@pytest.mark.parametrize("norm_type", ["batch", "instance", "none"])
@pytest.mark.parametrize("deconv_type", ["bilinear", "nn", "transpose"])
@pytest.mark.parametrize("shape", [(16, 16, 1), (28, 28, 1), (45, 45, 3), (19, 33, 1), (64, 7, 2), (5, 3, 1),
                                   (1, 2, 1)])
def test_ssgan_of_any_size(norm_type, deconv_type, shape):
    nets = MODELS["ssgan"](Spec("a", shape, 3), "explicit", 20, deconv_type, norm_type)
    images = nets["G"](nets["G"].prior(2, "cpu"))
    assert images.shape == (2, shape[2], shape[0], shape[1])
    assert nets["D"](images).classes.isfinite().all()


@pytest.mark.parametrize("size", range(16, 65, 4))
def test_dcgan_of_every_size(size):
    nets = MODELS["dcgan"](Spec("a", (size, size, 1), 0), n_z=7)
    convs = [m for m in nets["G"].modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.stride[0] for m in convs] == [1, 2, 2, 2]
    if size in (28, 32):
        assert [m.kernel_size[0] for m in convs] == [2, {28: 3, 32: 4}[size], 4, 6]
    images = nets["G"](nets["G"].prior(2, "cpu"))
    assert images.shape == (2, 1, size, size)
    assert nets["D"](images).real.shape == (2,)


@every_model
def test_without_classes_there_is_one_logit_of_real(name):
    for head in ("implicit", "explicit"):
        nets = pair(name, head, classes=0)
        said = nets["D"](nets["G"](nets["G"].prior(3, "cpu")))
        assert said.classes.shape == (3, 0)
        assert said.real.shape == (3,)
        assert len(said.real.unique()) == 3


@pytest.mark.parametrize("shape", [(256, 256, 3), (300, 60, 3)])
def test_ssgan_takes_256_pixels_and_more(shape):
    nets = MODELS["ssgan"](Spec("a", shape, 2), "explicit")
    assert nets["D"](nets["G"](nets["G"].prior(2, "cpu"))).classes.shape == (2, 2)


@pytest.mark.parametrize(("name", "shape"), [("conv-small", (28, 28, 1)), ("conv-small", (8, 8, 1)),
                                             ("conv-minibatch", (28, 28, 1)), ("conv-badgan", (8, 8, 1)),
                                             ("conv-wide", (28, 28, 1)), ("conv-large", (28, 28, 1)),
                                             ("blog", (20, 20, 3)), ("resnet18", (24, 32, 3)), ("ssgan", (1, 1, 3)),
                                             ("dcgan", (32, 28, 1)), ("dcgan", (12, 12, 1)), ("dcgan", (30, 30, 1)),
                                             ("dcgan", (68, 68, 3))])
def test_a_size_that_does_not_fit_is_refused(name, shape):
    with pytest.raises(UserError, match=f"--model {name} takes"):
        MODELS[name](Spec("a", shape, 10))


@pytest.mark.parametrize("name", ["mlp-minibatch", "conv-minibatch"])
def test_minibatch_features_do_not_depend_on_the_batch_in_evaluation(name):
    D, (height, width, channels) = pair(name)["D"], SHAPES[name]
    x = torch.rand(150, channels, height, width)
    ops.data_init(D, x)
    assert torch.equal(D.reference, x[:100])
    assert "reference" in D.state_dict()
    images = torch.rand(6, channels, height, width)
    moved = 10 * torch.rand(5, channels, height, width)
    alone, beside, others = (D.eval()(batch).classes[:1] for batch in (
        images[:1], images, torch.cat([images[:1], moved])))
    torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(others, alone, rtol=1e-4, atol=1e-5)
    # and they are looked at: another reference gives another verdict
    D.reference.mul_(0.9)
    assert not torch.allclose(D(images[:1]).classes, alone, rtol=1e-4, atol=1e-5)


def test_minibatch_features_in_training_are_those_of_the_batch():
    D = pair("mlp-minibatch")["D"]
    for module in D.modules():
        if isinstance(module, ops.GaussianNoise):
            module.sigma = 0.0
    x = torch.rand(100, 1, 28, 28)
    ops.data_init(D, torch.rand(200, 1, 28, 28))
    alone, among = D(x).classes[:1], D(torch.cat([x[:1], x[1:] * 0.5])).classes[:1]
    assert not torch.allclose(alone, among, rtol=1e-3, atol=1e-3)


def test_the_generator_beside_resnet18_starts_as_the_references():
    G = pair_of("resnet18", (224, 224, 3))["G"]
    for m in (m for m in G.modules() if isinstance(m, nn.ConvTranspose2d)):
        assert m.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for m in (m for m in G.modules() if isinstance(m, nn.BatchNorm2d)):
        assert m.weight.mean().item() == pytest.approx(1, abs=0.01)
        assert 0.01 < m.weight.std().item() < 0.03
        assert not m.bias.any()
    z = G.prior(1000, "cpu")
    assert (z.mean().abs() < 0.02, z.std().item()) == (True, pytest.approx(1, abs=0.02))


@pytest.mark.parametrize(("shape", "start"), [((224, 224, 3), (7, 7)), ((128, 160, 3), (4, 5)), ((64, 64, 3), (4, 4)),
                                              ((48, 64, 1), (3, 4)), ((16, 16, 4), (1, 1)), ((144, 144, 2), (9, 9))])
def test_resnet18_takes_multiples_of_16(shape, start):
    nets = pair_of("resnet18", shape)
    images = nets["G"](nets["G"].prior(2, "cpu"))
    assert images.shape == (2, shape[2], *shape[:2])
    assert 0 <= images.min() <= images.max() <= 1
    assert nets["G"].up[0].kernel_size == start
    assert nets["D"].eval()(images).features.shape == (2, 512)


def pair_of(name, shape):
    torch.manual_seed(0)
    return MODELS[name](Spec("a", shape, 2))


@pytest.mark.parametrize("name", MODELS)
def test_options_have_defaults(name):
    parameters = list(inspect.signature(MODELS[name]).parameters.values())
    assert all(p.default is not p.empty for p in parameters[1:])
