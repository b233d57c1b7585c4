"""Flips and shifts: every image for itself, and nothing but a flip and a shift."""
import numpy as np
import pytest
import torch

from config import UserError
from datasets.augment import augment

IMAGES = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (400, 3, 5, 6)).astype(np.uint8))


def candidates(image, flip, shift):
    """Every result that an image may have, by what was done: numpy pads and crops."""
    padded = np.pad(image.numpy(), ((0, 0), (shift, shift), (shift, shift)), mode="reflect")
    for down in range(-shift, shift + 1):
        for right in range(-shift, shift + 1):
            moved = padded[:, shift - down:shift - down + 5, shift - right:shift - right + 6]
            yield (down, right, False), moved
            if flip:
                yield (down, right, True), moved[:, :, ::-1]


@pytest.mark.parametrize(("flip", "shift"), [(True, 0), (False, 2), (True, 2)])
def test_every_image_has_a_draw_of_its_own(flip, shift):
    torch.manual_seed(0)
    drawn = [next(what for what, moved in candidates(image, flip, shift) if (moved == changed.numpy()).all())
             for image, changed in zip(IMAGES, augment(IMAGES, flip, shift), strict=True)]
    possible = (2 * shift + 1) ** 2 * (1 + flip)
    counts = [drawn.count(what) for what in set(drawn)]
    assert len(counts) == possible
    assert max(counts) < 400 / possible + 5 * (400 / possible) ** 0.5  # five deviations


def test_training_sees_changed_images_and_changes_them_anew(build):
    plain, changed = build(dataset="Colour16"), build(dataset="Colour16", shift=3, flip=True)
    fetched = plain.pipeline.fetch(0, 0)
    seen = [run.pipeline.batch(*fetched, torch.zeros(()), None) for run in (plain, changed, changed)]
    for images in ("x_lab", "x_unl"):
        first, second, third = (getattr(batch, images) for batch in seen)
        assert not torch.equal(first, second)
        assert not torch.equal(second, third)
        assert second.is_contiguous(memory_format=torch.channels_last)
        for before, after in zip(first, second, strict=True):  # a reflected shift makes no new values
            assert set(after.unique().tolist()) <= set(before.unique().tolist())


def test_a_shift_as_large_as_the_image_is_refused(build):
    with pytest.raises(UserError, match="--shift 8: must be smaller than the images of Grey8, 8 x 8"):
        build(shift=8)
