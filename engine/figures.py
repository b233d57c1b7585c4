"""Pictures."""
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.utils import make_grid

from engine import world

SAMPLES = 100
SAMPLE_NOISE = 2**32  # a position that no training step has


def grid(images: Tensor, columns: int = 10) -> np.ndarray:
    """uint8 images [N, C, H, W] as one picture [height, width, C'], small ones enlarged by whole factors."""
    factor = max(1, 32 // images.shape[-1])
    images = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return make_grid(images, nrow=columns, padding=2, pad_value=127).permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def samples(D: nn.Module, G: nn.Module, seed: int, device: torch.device) -> Tensor:
    """SAMPLES generated images as bytes, from the same z at every call: uint8 [SAMPLES, C, H, W]."""
    world.seed_noise(seed, SAMPLE_NOISE)
    was_training = G.training
    images = G.eval()(G.prior(SAMPLES, device))
    G.train(was_training)
    return D.pixels.to_bytes(images)
