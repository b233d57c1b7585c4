"""A picture file as pixels of a wanted size; what cannot be used is told by a reason, whatever the file holds."""
import os
import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# No others are ever tried: some of Pillow's readers start programs. JPEG includes what cameras write as MPO.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
PHOTOMETRIC = 262  # tag of a TIFF: 0 where white is 0
MOST_PIXELS = 100_000_000  # a PNG of so many takes a process 1.6 GB with transparency, 2.1 GB with 16 bits of grey
Resize = Literal["crop", "pad", "stretch"]


class Look(NamedTuple):
    """How pictures are to come out: `crop` cuts the longer sides evenly, `pad` adds black, `stretch` bends."""

    height: int
    width: int
    resize: Resize
    grey: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, 1 if self.grey else 3


class Unusable(Exception):
    """A file that gives no picture; the message says why."""


def decode_all(paths: Sequence[str], look: Look) -> list[bytes | str]:
    """Of each file its pixels, in the order of uint8 [H, W, C], or why there are none."""
    found: list[bytes | str] = []
    for path in paths:
        try:
            found.append(decode(path, look).tobytes())
        except Unusable as reason:
            found.append(str(reason))
    return found


def decode(path: str, look: Look) -> np.ndarray:
    """uint8 [H, W, C] of the first picture in the file, upright, transparent parts on white; else Unusable."""
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise Unusable("no plain file")
    try:
        # What Pillow warns of (odd metadata, many pixels) either makes the file unusable below or does not matter.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Unusable(_too_large(image.width, image.height))
            # A JPEG can be decoded at an eighth of its size; twice the wanted one is kept for the filter below.
            image.draft(None, (2 * max(look.shape), 2 * max(look.shape)))
            return prepared(image, look)
    except Unusable:
        raise
    except Image.DecompressionBombError:
        raise Unusable(_too_large()) from None
    except UnidentifiedImageError:
        raise Unusable(_unknown(path)) from None
    except Exception as error:  # on damaged bytes Pillow raises nearly every kind
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120] or type(error).__name__
        raise Unusable(f"cannot be read ({reason})") from None


def opened(path: str) -> Image.Image:
    """A picture as its file has it, for `prepared`."""
    image = Image.open(path, formats=FORMATS)
    image.load()
    return image


def is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L") or image.mode.startswith("I")


def prepared(image: Image.Image, look: Look) -> np.ndarray:
    """uint8 [H, W, C] of a picture; Unusable if its values have no white that is known."""
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # which `exif_transpose` does not keep
        image.info["white is zero"] = True
    return np.asarray(_resized(_plain(ImageOps.exif_transpose(image), look.grey), look)).reshape(look.shape)


def _too_large(*sides: int) -> str:
    return f"{' x '.join(map(str, sides)) or 'far'}{' pixels,' * bool(sides)} more than {MOST_PIXELS:,} pixels"


def _unknown(path: str) -> str:
    with open(path, "rb") as file:
        return "no JPEG, PNG, WebP, BMP, GIF or TIFF picture that can be read" if file.read(1) else "an empty file"


def _plain(image: Image.Image, grey: bool) -> Image.Image:
    """Eight bits of grey or of red, green and blue."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode == "LAB":  # of which Pillow makes no grey
        image = image.convert("RGB")
    return image.convert("L" if grey else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Of 16 bits of grey; wider values have no white that everybody agrees on."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or not 255 < values.max() <= 0xFFFF:
        bits = 32 if image.mode in ("F", "I") else 16
        raise Unusable(f"values of {bits} bits ({values.min():g} to {values.max():g}), whose white is not known")
    if image.info.get("white is zero"):  # Pillow looks at that of 8 bits alone
        values = 0xFFFF - values
    if isinstance(clear := image.info.get("transparency"), int):
        values = np.where(values == clear, 0xFFFF, values)
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _resized(image: Image.Image, look: Look) -> Image.Image:
    width, height = image.size
    size, box = (look.width, look.height), (0, 0, width, height)
    if look.resize == "crop":
        scale = min(width / look.width, height / look.height)
        left, top = max(0, width - scale * look.width) / 2, max(0, height - scale * look.height) / 2
        box = (left, top, width - left, height - top)
    elif look.resize == "pad":
        scale = max(width / look.width, height / look.height)
        size = max(1, round(width / scale)), max(1, round(height / scale))
    small = image.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=3)
    if small.size == (look.width, look.height):
        return small
    framed = Image.new(small.mode, (look.width, look.height))
    framed.paste(small, ((look.width - small.width) // 2, (look.height - small.height) // 2))
    return framed
