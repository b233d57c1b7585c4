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


def build(cfg: Config, spec: Spec, names: tuple[str, ...] = ("D", "G")) -> dict[str, nn.Module]:
    """The nets of those names of the pair that the settings name; UserError if it is unknown, lacks one of them or does
    not take images of this shape."""
    model = nearest(cfg.model, MODELS, "--model")
    taken = inspect.signature(MODELS[model]).parameters
    others = {name for builder in MODELS.values() for name in inspect.signature(builder).parameters} - taken.keys()
    for name in others & type(cfg).__annotations__.keys():  # the recipe's own
        if (value := getattr(cfg, name)) != getattr(type(cfg), name):
            raise UserError(f"--{name} {value}: --model {model} has no such setting; leave the flag out")
    nets = MODELS[model](spec, **{name: getattr(cfg, name) for name in taken if hasattr(cfg, name)})
    if lacking := [name for name in names if name not in nets]:
        raise UserError(f"--model {model}: has no net {lacking[0]} ({', '.join(nets)}), which --recipe {cfg.recipe} "
                        f"trains with these settings; use another --model, or settings without it")
    return {name: nets[name] for name in names}
