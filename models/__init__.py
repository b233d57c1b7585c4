"""Pairs of networks by name. `build(spec, head, **options)` gives {"D": discriminator, "G": generator}:

    D(x) -> ops.Verdict, for x [B, C, H, W] in D.pixels;  G(z) -> [B, C, H, W] in the same range;
    G.prior(n, device) -> z [n, n_z]. Options of a builder are settings of the recipes that offer them.
"""
import inspect

from torch import nn

from config import Config, Spec, nearest

from . import blog, conv_large, conv_small, mlp, ssgan

MODELS = {"mlp": mlp.build, "conv-small": conv_small.build, "conv-large": conv_large.build, "blog": blog.build,
          "ssgan": ssgan.build}


def build(cfg: Config, spec: Spec) -> dict[str, nn.Module]:
    """The pair that the settings name; UserError if it is unknown or does not take images of this shape."""
    builder = MODELS[nearest(cfg.model, MODELS, "--model")]
    options = {name: getattr(cfg, name) for name in inspect.signature(builder).parameters if hasattr(cfg, name)}
    return builder(spec, **options)
