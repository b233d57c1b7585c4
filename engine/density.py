"""A trained density model in the loss of another recipe, which needs to know how likely its generated images are."""
import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

import losses
from config import Config, UserError
from datasets.h5 import Data
from datasets.pipeline import Pipeline
from engine import restore, state
from ops import Pixels

FILE = "density.pt"  # the copy in the folder of a run that uses one
QUANTILE = 0.1  # of log p(x) of training images: the threshold (Dai et al. 2017, code)
IMAGES = 10_000  # at most, from which it is taken
CHUNK = 100  # of them in one call


class Density(nn.Module):
    """log p(x) of images by a density model, frozen, and the `threshold` above which one is likely, in nats. Its state
    is the threshold and the sha256 of the model's checkpoint; the model's weights stay in that file."""

    def __init__(self, model: nn.Module, digest: bytes, pixels: Pixels):
        """`pixels`: the range of the images that it will be asked of."""
        super().__init__()
        self.model = (model.eval().requires_grad_(False),)  # in a tuple: no part of what is saved
        self.pixels = pixels
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("digest", torch.tensor(list(digest), dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """log p(x) [B], nats, with its gradient to the images [B, C, H, W]; always in float32."""
        model, = self.model
        with torch.autocast(x.device.type, enabled=False):
            levels = x.float() * self.pixels.divisor + self.pixels.offset
            x = (levels - model.pixels.offset) / model.pixels.divisor
            return losses.log_likelihood(x, *model(x))

    @torch.no_grad()
    def choose_threshold(self, pipeline: Pipeline) -> None:
        """Set the threshold to the quantile of unlabelled training images."""
        count, found = min(IMAGES, len(pipeline.split.pool)), []
        for start in tqdm(range(0, count, CHUNK), "likelihood of training images", dynamic_ncols=True, mininterval=1):
            images, _ = pipeline.take("pool", 0, start, min(CHUNK, count - start))
            found.append(self(pipeline.pixels.from_bytes(images)))
        self.threshold.copy_(torch.cat(found).quantile(QUANTILE))


def given(cfg: Config, data: Data, pixels: Pixels, device: torch.device,
          saved: dict[str, Any] | None) -> dict[str, Density]:
    """{"density": that of --density, for images in the range `pixels`}, its threshold not yet chosen, or {} without
    the flag. UserError if the file is no density model of this data set, or not that of the checkpoint `saved`."""
    asked, before = getattr(cfg, "density", ""), saved and saved["nets"].get("density")
    if saved and bool(asked) != bool(before):
        raise UserError(f"--density {asked!r}: the run in the checkpoint was begun with{'' if before else 'out'} one; "
                        "leave the flag out")
    if not asked:
        return {}
    path = Path(asked)
    trained = state.load(path)
    recipe, settings = restore.settings(trained, path)
    if recipe.evaluated != "density":
        raise UserError(f"--density {path}: a run of --recipe {recipe.name}, which has no density; train one with "
                        f"--recipe pixelcnn --dataset {data.spec.name}")
    if trained["data"]["digest"] != data.digest:
        raise UserError(f"--density {path}: trained on other images ({trained['settings']['dataset']}, digest "
                        f"{trained['data']['digest'][:12]}) than those of {data.spec.name} ({data.digest[:12]}); "
                        f"train one with --recipe pixelcnn --dataset {data.spec.name}")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    if before and bytes(before["digest"].tolist()) != digest:
        raise UserError(f"--density {path}: not the file with which the run was begun; name that one")
    _, model = restore.networks(trained, path, recipe, settings, data.spec, device)
    return {"density": Density(model, digest, pixels).to(device)}
