"""Flips and shifts: every image for itself, and nothing but a flip and a shift. Warps: every image under a map of its
own, the one that was drawn."""
import numpy as np
import pytest
import torch

import ops
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
    seen = [run.pipeline.batch(fetched, torch.zeros(()), None) for run in (plain, changed, changed)]
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


def test_a_warp_reads_each_image_at_the_places_that_its_map_says():
    images = torch.rand(6, 2, 5, 7)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):  # as in training
        found = ops.warped(images, 0.3)
    torch.manual_seed(1)
    maps = np.eye(2, 3) + torch.empty(6, 2, 3).uniform_(-0.3, 0.3).numpy()
    for image, moved, (to_x, to_y) in zip(images.numpy(), found.numpy(), maps, strict=True):
        for row, column in ((0, 0), (2, 3), (4, 1), (3, 6)):
            place = (2 * column + 1) / 7 - 1, (2 * row + 1) / 5 - 1, 1  # centres of pixels, edges at -1 and 1
            x = np.clip(((to_x @ place + 1) * 7 - 1) / 2, 0, 6)
            y = np.clip(((to_y @ place + 1) * 5 - 1) / 2, 0, 4)
            left, top = int(x), int(y)
            right, bottom, a, b = min(left + 1, 6), min(top + 1, 4), x - left, y - top
            expected = ((1 - b) * ((1 - a) * image[:, top, left] + a * image[:, top, right])
                        + b * ((1 - a) * image[:, bottom, left] + a * image[:, bottom, right]))
            np.testing.assert_allclose(moved[:, row, column], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ops.warped(images, 0.0), images)
