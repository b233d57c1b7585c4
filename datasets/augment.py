"""Random changes of images that keep their class, one draw per image, on the device where the images are."""
import torch
from torch import Tensor


def augment(images: Tensor, flip: bool, shift: int) -> Tensor:
    """Each of the images [B, C, H, W] mirrored left to right with probability 1/2 if `flip`, and moved by up to `shift`
    pixels along each axis, all moves as likely; what comes in from outside is the image reflected at its edge, so
    `shift` must be smaller than the image. Same type, channels_last, drawn from torch's generator of that device."""
    count, _, height, width = images.shape
    rows = torch.arange(height, device=images.device).expand(count, height)
    columns = torch.arange(width, device=images.device).expand(count, width)
    if shift:
        down, right = torch.randint(-shift, shift + 1, (2, count, 1), device=images.device)
        rows, columns = _reflected(rows - down, height), _reflected(columns - right, width)
    if flip:
        mirrored = torch.rand(count, 1, device=images.device) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    which = torch.arange(count, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(index: Tensor, size: int) -> Tensor:
    return size - 1 - (size - 1 - index.abs()).abs()
