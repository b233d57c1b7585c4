"""What a classifier says of images; the one code by which trainer and evaluator count errors."""
import numpy as np
import torch
from torch import nn

from ops import Verdict

BATCH = 1000


@torch.no_grad()
def predict(D: nn.Module, images: np.ndarray, device: torch.device) -> Verdict:
    """The verdict on uint8 images [N, H, W, C], in evaluation mode and float32, on the host."""
    was_training = D.training
    D.eval()
    parts = []
    for start in range(0, len(images), BATCH):
        chunk = torch.from_numpy(images[start:start + BATCH]).to(device).permute(0, 3, 1, 2)
        parts.append(D(D.pixels.from_bytes(chunk)))
    D.train(was_training)
    return Verdict(*(torch.cat(field).cpu() for field in zip(*parts, strict=True)))


def errors(D: nn.Module, images: np.ndarray, labels: np.ndarray, device: torch.device) -> int:
    """How many of the images are put into a wrong class."""
    return int((predict(D, images, device).classes.argmax(1).numpy() != labels).sum())
