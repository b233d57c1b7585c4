"""The layers of every network in the order in which an image or a z passes them, as its paper or code has them."""
import itertools

import pytest
import torch
from scipy.stats import truncnorm
from torch import nn

import ops
from config import Spec
from models import MODELS, minibatch


def kernel(layer):
    same = isinstance(layer, ops.SameConv2d)
    assert {len(set(size)) for size in (layer.kernel_size, layer.stride, layer.padding)} == {1}
    return (f"{layer.kernel_size[0]}({layer.in_channels},{layer.out_channels})"
            + f"/{layer.stride[0]}" * (layer.stride[0] > 1) + ("same" if same else f"+{layer.padding[0]}"))


WORDS = {nn.Linear: lambda m: f"dense({m.in_features},{m.out_features})", nn.Conv2d: lambda m: f"conv{kernel(m)}",
         nn.ConvTranspose2d: lambda m: f"up{kernel(m)}", ops.ShiftBatchNorm: lambda m: "shift",
         nn.modules.batchnorm._BatchNorm: lambda m: f"bn{m.momentum:g},{m.eps:g}",
         ops.GaussianNoise: lambda m: f"noise{m.sigma:g}", nn.Dropout2d: lambda m: f"planes{m.p:g}",
         ops.Dropout: lambda m: f"drop{m.p:g}", nn.LeakyReLU: lambda m: f"leaky{m.negative_slope:g}",
         nn.ReLU: lambda m: "relu", nn.MaxPool2d: lambda m: f"max{m.kernel_size}",
         minibatch.MinibatchDiscrimination: lambda m: "minibatch({},{},{})".format(*m.theta.shape)}


def word(layer):
    """conv5(3,64)/2+1: kernel, maps, stride, padding. "wn" before it: weight norm, then the deviation that its outputs
    have at first (-: left alone), then * if its scale is trained. "!" behind it: no bias."""
    found = [say(layer) for kind, say in WORDS.items() if isinstance(layer, kind)]
    if not found:
        return ""
    free = "!" if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and layer.bias is None else ""
    if not hasattr(layer, "parametrizations"):
        return found[0] + free
    trained = isinstance(layer.parametrizations.weight[0].scale, nn.Parameter)
    return f"wn{'-' if layer.init_std is None else f'{layer.init_std:g}'}{'*' * trained}:{found[0]}{free}"


def passed(net, x):
    """The words of the layers of `net` in the order of their calls."""
    found = []
    for layer in net.modules():
        layer.register_forward_hook(lambda m, *_: found.append(word(m)))
    net.train()(x)
    return " ".join(filter(None, found))


def small(a, b, start, between="drop0.5", c=None, d=None, e=None, last="wn0.1*:dense({e},10)"):
    """conv-small of Salimans et al. and its relatives: two blocks of three, then without padding."""
    c, d, e = c or b, d or b, e or b
    convs = (f"{start} wn1:conv3(3,{a})+1 ~ wn1:conv3({a},{a})+1 ~ wn1:conv3({a},{a})/2+1 ~ {between} "
             f"wn1:conv3({a},{b})+1 ~ wn1:conv3({b},{b})+1 ~ wn1:conv3({b},{b})/2+1 ~ {between} "
             f"wn1:conv3({b},{c})+0 ~ wn1:conv1({c},{d})+0 ~ wn1:conv1({d},{e})+0 ~ ")
    return convs.replace("~", "leaky0.2") + last.format(e=e)


def up(z=100, norm="shift", out="wn0.1*:up5(128,3)/2+2"):
    return f"dense({z},8192)! {norm} up5(512,256)/2+2! {norm} relu up5(256,128)/2+2! {norm} relu {out}"


MLP = ("noise0.3 wn1:dense(784,1000) noise0.5 wn1:dense(1000,500) noise0.5 wn1:dense(500,250) noise0.5 "
       "wn1:dense(250,250) noise0.5 wn1:dense(250,250) noise0.5 ")
MLP_UP = "dense(100,500)! shift dense(500,500)! shift wn-*:dense(500,784)"
LARGE = ("conv3(3,128)+1~ conv3(128,128)+1~ conv3(128,128)+1~ max2 drop0.5 conv3(128,256)+1~ conv3(256,256)+1~ "
         "conv3(256,256)+1~ max2 drop0.5 conv3(256,512)+0~ conv1(512,256)+0~ conv1(256,128)+0~ dense(128,10)")
BLOG = ("drop0.2 conv3(3,64)/2same leaky0.2 drop0.5 conv3(64,64)/2same bn leaky0.2 conv3(64,64)/2same bn leaky0.2 "
        "drop0.5 conv3(64,128)same bn leaky0.2 conv3(128,128)same bn leaky0.2 conv3(128,128)+0 leaky0.2 dense(128,10)")
BLOG_UP = "dense(100,2048) bn leaky0.2 up5(128,64)/2+2 bn leaky0.2 up5(64,32)/2+2 bn leaky0.2 up5(32,3)/2+2"


def dcgan(*widths):
    convs = [f"conv5({a},{b})/2same leaky0.2 bn0.1,0.001 drop0.5" for a, b in itertools.pairwise(widths)]
    return f"{' '.join(convs)} dense({16 * widths[-1]},10)"


def dcgan_up(kernels, *widths):
    convs = [f"up{kernel}({a},{b}){'/2' if i else ''}+0" for i, (kernel, a, b) in enumerate(
        zip(kernels, (100, *widths), widths, strict=False))]
    return " relu bn0.1,0.001 ".join(convs)


def ssgan(*widths):
    convs = [f"conv3({a},{b})/2same leaky0.2 bn0.01,0.001" for a, b in zip((3, *widths), widths, strict=False)]
    last = widths[-1] // 4
    return f"{' '.join(convs)} conv1({widths[-1]},{last})same leaky0.2 dense({last},11)"


def ssgan_up(*widths):
    convs = [f"conv3({a},{b})same relu bn0.01,0.001" for a, b in zip((1024, *widths), widths, strict=False)]
    return f"dense(128,1024) {' '.join(convs)} conv1({widths[-1]},3)same"


RESNET_UP = " bn0.1,1e-05 relu ".join(
    ["up7(100,512)+0!", "up4(512,256)/2+1!", "up4(256,128)/2+1!", "up4(128,64)/4+0!", "up4(64,3)/2+1!"])
ENCODER = " bn0.1,1e-05 relu ".join(
    ["conv5(3,128)/2+2!", "conv5(128,256)/2+2!", "conv5(256,512)/2+2!", "wn0.1*:dense(8192,200)"])
GREY, COLOUR = (28, 28, 1), (32, 32, 3)
LAYERS = {
    ("mlp", "MNIST", GREY): {"D": MLP + "wn1*:dense(250,10)", "G": MLP_UP},
    ("mlp-minibatch", "MNIST", GREY): {
        "D": f"{MLP.replace(') ', ') relu ')[:-len('noise0.5 ')]}minibatch(250,100,5) noise0.5 wn1*:dense(350,10)",
        "G": MLP_UP},
    ("conv-small", "CIFAR10", COLOUR): {"D": small(96, 192, "drop0.2"), "G": up()},
    ("conv-small", "SVHN", COLOUR): {"D": small(64, 128, "drop0.2"), "G": up()},
    ("conv-wide", "CIFAR10", COLOUR): {"D": small(128, 256, "drop0.2", c=512, d=256, e=128), "G": up(50)},
    ("conv-minibatch", "SVHN", COLOUR): {
        "D": small(96, 192, "noise0.2", last="minibatch({e},100,5) wn0.1*:dense(292,10)"), "G": up()},
    ("conv-badgan", "CIFAR10", COLOUR): {"D": small(96, 192, "noise0.05 planes0.2"),
                                         "G": up(norm="bn0.1,1e-05"), "E": ENCODER},
    ("conv-badgan", "SVHN", COLOUR): {"D": small(64, 128, "noise0.05 planes0.15", between="planes0.5")},
    ("conv-large", "CIFAR10", COLOUR): {"D": LARGE.replace("~", "! bn0.01,1e-06 leaky0.1"), "G": up()},
    ("blog", "SVHN", COLOUR): {"D": BLOG.replace("bn", "bn0.01,0.001"), "G": BLOG_UP.replace("bn", "bn0.01,0.001")},
    ("dcgan", "MNIST", GREY): {"D": dcgan(1, 32, 64, 128), "G": dcgan_up((2, 3, 4, 6), 100, 25, 6, 1)},
    ("dcgan", "SVHN", COLOUR): {"D": dcgan(3, 64, 128, 256), "G": dcgan_up((2, 4, 4, 6), 384, 128, 64, 3)},
    ("ssgan", "SVHN", COLOUR): {"D": ssgan(32, 64, 128, 256, 256), "G": ssgan_up(512, 256, 128, 64, 32)},
    ("ssgan", "own", (64, 64, 3)): {"D": ssgan(32, 64, 128, 256, 256, 512), "G": ssgan_up(512, 256, 128, 64, 32, 16)},
    ("resnet18", "own", (224, 224, 3)): {"G": RESNET_UP}}


@pytest.mark.parametrize(("model", "dataset", "shape", "net"),
                         [(*key, net) for key, nets in LAYERS.items() for net in nets])
def test_layers_are_the_references(model, dataset, shape, net):
    nets = MODELS[model](Spec(dataset, shape, 10), "explicit" if model == "ssgan" else "implicit")
    x = nets["G"].prior(4, "cpu")
    assert passed(nets[net], x if net == "G" else nets["G"](x).detach()) == LAYERS[model, dataset, shape][net]


def test_every_model_has_its_layers_here():
    assert {model for model, *_ in LAYERS} == MODELS.keys() - {"pixelcnn"}  # which has its own tests


@pytest.mark.parametrize(("model", "dataset", "shape", "deviation"), [
    ("mlp", "MNIST", GREY, 0.1), ("conv-small", "CIFAR10", COLOUR, 0.05), ("conv-small", "SVHN", COLOUR, 0.05),
    ("conv-badgan", "SVHN", COLOUR, 0.05), ("conv-minibatch", "CIFAR10", COLOUR, 0.05),
    ("pixelcnn", "MNIST", GREY, 0.05)])
def test_weights_with_weight_norm_start_with_the_published_deviation(model, dataset, shape, deviation):
    """Of N(0, deviation^2)."""
    torch.manual_seed(0)
    for net in MODELS[model](Spec(dataset, shape, 10)).values():
        for layer in net.modules():
            if hasattr(layer, "parametrizations"):
                weight = layer.parametrizations.weight.original
                assert weight.std().item() == pytest.approx(deviation, rel=4 / weight.numel() ** 0.5)
                assert abs(weight.mean().item()) < 4 * deviation / weight.numel() ** 0.5


def cut(deviation):
    """That of N(0, deviation^2) without what lies more than two deviations out."""
    return deviation * truncnorm(-2, 2).std()


def glorot(weight):
    inputs, outputs = (weight.shape[i] * weight[0, 0].numel() for i in (1, 0))
    return (2 / (inputs + outputs)) ** 0.5


def he(weight):
    return (2 / (weight.shape[1] * weight[0, 0].numel())) ** 0.5


def by_inputs(weight):
    """That of U(-1, 1) / sqrt(inputs), of a dense layer or a transposed convolution."""
    inputs = weight.shape[1] if weight.dim() == 2 else weight.shape[0] * weight[0, 0].numel()
    return (3 * inputs) ** -0.5


@pytest.mark.parametrize(("model", "net", "options", "expected"), [
    ("mlp", "G", {}, {nn.Linear: glorot}),
    ("conv-small", "G", {}, {nn.Linear: lambda _: 0.05, nn.ConvTranspose2d: lambda _: 0.05}),
    ("conv-badgan", "G", {}, {nn.Linear: by_inputs, nn.ConvTranspose2d: by_inputs}),
    ("conv-badgan", "E", {}, {nn.Conv2d: lambda weight: by_inputs(weight.transpose(0, 1))}),
    ("ssgan", "D", {}, {nn.Linear: glorot, nn.Conv2d: glorot}),
    ("ssgan", "G", {}, {nn.Linear: glorot, nn.Conv2d: glorot}),
    ("ssgan", "G", {"deconv_type": "transpose"},
     {nn.ConvTranspose2d: lambda _: cut(0.01), nn.Conv2d: lambda _: cut(0.01)}),
    ("dcgan", "D", {}, {nn.Linear: glorot, nn.Conv2d: lambda _: cut(0.02)}),
    ("dcgan", "G", {}, {nn.ConvTranspose2d: lambda _: cut(0.02)}),
    ("blog", "D", {}, {nn.Linear: glorot, nn.Conv2d: glorot}),
    ("blog", "G", {}, {nn.Linear: glorot, nn.ConvTranspose2d: glorot}),
    ("conv-large", "D", {}, {nn.Linear: he, nn.Conv2d: he})])
def test_weights_without_weight_norm_start_with_the_published_deviation(model, net, options, expected):
    torch.manual_seed(0)
    for layer in MODELS[model](Spec("a", COLOUR, 10), **options)[net].modules():
        for kind, deviation in expected.items():
            if isinstance(layer, kind) and not hasattr(layer, "parametrizations"):
                exact = pytest.approx(deviation(layer.weight), rel=4 / layer.weight.numel() ** 0.5)
                assert layer.weight.std().item() == exact
                assert layer.bias is None or not layer.bias.any()


def test_gains_of_norms_start_as_in_the_references():
    """Of ssl_bad_gan's torch 0.1.12 between 0 and 1; of ssgan's instance norm near 1, and its offsets near 0."""
    torch.manual_seed(0)
    nets = MODELS["conv-badgan"](Spec("a", COLOUR, 10))
    gains = torch.cat([m.weight for net in nets.values() for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
    assert (gains.min().item(), gains.mean().item(), gains.max().item()) == pytest.approx((0, 0.5, 1), abs=0.05)
    D = MODELS["ssgan"](Spec("a", COLOUR, 10), norm_type="instance")["D"]
    norms = [m for m in D.modules() if isinstance(m, nn.InstanceNorm2d)]
    for name, mean in (("weight", 1), ("bias", 0)):
        values = torch.cat([getattr(m, name) for m in norms])
        assert (values.mean().item(), values.std().item()) == pytest.approx((mean, 0.02), abs=0.005)


PIXELS = {("mlp", "MNIST"): (0, 1), ("resnet18", "own"): (0, 1), ("conv-small", "CIFAR10"): (-127.5 / 128, 127.5 / 128),
          ("conv-small", "SVHN"): (-1, 1), ("conv-wide", "CIFAR10"): (-0.5, 0.5),
          ("conv-badgan", "CIFAR10"): (-1, 1), ("blog", "SVHN"): (-1, 1), ("dcgan", "MNIST"): (-1, 1),
          ("ssgan", "CIFAR10"): (-1, 1)}


@pytest.mark.parametrize(("model", "dataset"), PIXELS)
def test_pixels_have_the_published_range(model, dataset):
    D = MODELS[model](Spec(dataset, GREY if dataset == "MNIST" else COLOUR, 10))["D"]
    seen = D.pixels.from_bytes(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    assert seen == pytest.approx(PIXELS[model, dataset])
