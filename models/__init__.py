"""Pairs of networks by name. `build(spec, head, **options)` gives {"D": discriminator, "G": generator}, and some give
more, as {"E": encoder}:

    D(x) -> ops.Verdict, for x [B, C, H, W] in D.pixels;  G(z) -> [B, C, H, W] in the same range;
    G.prior(n, device) -> z [n, n_z];  E(x) -> mean and log deviation of z, [B, n_z] each.

A density model is alone, {"P": P}: P(x) -> the fields of losses.log_likelihood, for x in P.pixels.

Options of a builder are settings of the recipes that offer them.
"""
import inspect

from torch import nn

from config import Config, Spec, UserError, nearest

from . import bad_gan, blog, conv_large, conv_small, dcgan, minibatch, mlp, pixelcnn, resnet, ssgan

MODELS = {"mlp": mlp.build, "conv-small": conv_small.build, "conv-wide": conv_small.build_wide,
          "conv-large": conv_large.build, "mlp-minibatch": minibatch.build_mlp, "conv-minibatch": minibatch.build_conv,
          "conv-badgan": bad_gan.build, "blog": blog.build, "dcgan": dcgan.build,
          "pixelcnn": pixelcnn.build, "ssgan": ssgan.build, "resnet18": resnet.build}


def check_options(cfg: Config) -> None:
    """UserError for a setting of the recipe's that its usual network takes, but the model of the settings does not."""
    foreign = set().union(*map(_options, MODELS)) - _options(cfg.model)
    for name in sorted(foreign & type(cfg).__annotations__.keys()):  # the recipe's own
        if (value := getattr(cfg, name)) != getattr(type(cfg), name):
            raise UserError(f"--{name} {value}: --model {cfg.model} has no such setting; leave the flag out")


def _options(model: str) -> set[str]:
    return set(inspect.signature(MODELS[model]).parameters)


def build(cfg: Config, spec: Spec, names: tuple[str, ...] = ("D", "G")) -> dict[str, nn.Module]:
    """The nets of those names of the pair that the settings name; UserError if it is unknown, lacks one of them or does
    not take images of this shape."""
    model = nearest(cfg.model, MODELS, "--model")
    nets = MODELS[model](spec, **{name: getattr(cfg, name) for name in _options(model) if hasattr(cfg, name)})
    if lacking := [name for name in names if name not in nets]:
        raise UserError(f"--model {model}: has no net {lacking[0]} ({', '.join(nets)}), which --recipe {cfg.recipe} "
                        f"trains with these settings; use another --model, or settings without it")
    return {name: nets[name] for name in names}
