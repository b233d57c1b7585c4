"""Pictures of every kind, made here, and what becomes of them."""
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from datasets import photo

LOOK = photo.Look(8, 8, "crop", False)
RED, BLUE, WHITE = (200, 40, 30), (20, 60, 180), (255, 255, 255)
GREYS = (87, 62)  # of red and blue: 0.299 R + 0.587 G + 0.114 B


def halves(height=64, width=64):
    """Red on the left, blue on the right."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, :width // 2], pixels[:, width // 2:] = RED, BLUE
    return Image.fromarray(pixels)


def decoded(tmp_path, image, look=LOOK, kind="PNG", **options):
    image.save(tmp_path / "picture", kind, **options)
    return photo.decode(str(tmp_path / "picture"), look)


def assert_halves(pixels, left, right, tolerance=0):
    """Away from the border between the halves, which is blurred."""
    for part, colour in ((pixels[:, :1], left), (pixels[:, -1:], right)):
        assert np.abs(part.astype(int) - colour).max() <= tolerance


@pytest.mark.parametrize(("kind", "mode", "tolerance", "options"), [
    ("JPEG", "RGB", 4, {"quality": 95}), ("JPEG", "CMYK", 12, {"quality": 95}), ("PNG", "RGB", 0, {}),
    ("PNG", "P", 0, {}), ("PNG", "RGBA", 0, {}), ("WEBP", "RGB", 0, {"lossless": True}), ("BMP", "RGB", 0, {}),
    ("GIF", "P", 0, {}), ("TIFF", "RGB", 0, {}), ("TIFF", "CMYK", 0, {}), ("TIFF", "YCbCr", 4, {}),
    ("TIFF", "RGB", 0, {"compression": "tiff_lzw"})])
def test_colours_of_every_kind(tmp_path, kind, mode, tolerance, options):
    image = halves().convert(mode, palette=Image.Palette.ADAPTIVE) if mode == "P" else halves().convert(mode)
    pixels = decoded(tmp_path, image, kind=kind, **options)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    assert_halves(pixels, RED, BLUE, tolerance)


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "I;16"),
                                            ("TIFF", "I;16"), ("TIFF", "I;16B"), ("TIFF", "I"), ("BMP", "L")])
def test_greys_of_every_kind(tmp_path, kind, mode):
    grey = halves().convert("L")
    if mode.startswith("I"):
        grey = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        grey = Image.fromarray(np.asarray(grey).astype(">u2")) if mode == "I;16B" else grey.convert(mode)
        assert grey.mode == mode
    pixels = decoded(tmp_path, grey if mode != "LA" else grey.convert("LA"), kind=kind)
    for channel in range(3):
        assert_halves(pixels[..., channel], *GREYS, tolerance=2)
    again = decoded(tmp_path, halves(), LOOK._replace(grey=True))
    assert again.shape == (8, 8, 1)
    assert_halves(again[..., 0], *GREYS, tolerance=1)


def test_sixteen_bits_of_which_white_is_zero(tmp_path):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 4
    Image.fromarray(values * 257).save(tmp_path / "a.tif")
    content, black_is_zero = (tmp_path / "a.tif").read_bytes(), struct.pack("<HHII", photo.PHOTOMETRIC, 3, 1, 1)
    assert content.count(black_is_zero) == 1  # Pillow writes no other
    (tmp_path / "a.tif").write_bytes(content.replace(black_is_zero, struct.pack("<HHII", photo.PHOTOMETRIC, 3, 1, 0)))
    found = photo.decode(str(tmp_path / "a.tif"), photo.Look(8, 8, "crop", True))
    np.testing.assert_array_equal(found[..., 0], 255 - values)


def test_what_is_transparent_becomes_white_in_sixteen_bits_too(tmp_path):
    values = np.full((8, 8), 30_000, np.uint16)
    values[:4] = 500
    Image.fromarray(values).save(tmp_path / "a.png", transparency=500)
    found = photo.decode(str(tmp_path / "a.png"), photo.Look(8, 8, "crop", True))
    assert (found[0, 0, 0], found[7, 0, 0]) == (255, 117)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I")])
def test_white_of_16_bits(tmp_path, kind, mode):
    values = np.where(np.arange(64)[None].repeat(64, 0) < 32, 0, 65535).astype(np.uint16)
    assert_halves(decoded(tmp_path, Image.fromarray(values).convert(mode), kind=kind), 0, 255)


def test_black_and_white(tmp_path):
    image = Image.fromarray(np.arange(64)[None].repeat(64, 0) >= 32)
    assert image.mode == "1"
    assert_halves(decoded(tmp_path, image), 0, 255)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"), ("PNG", "LA"),
                                            ("PNG", "P"), ("GIF", "P"), ("PNG", "RGB")])
def test_what_is_transparent_is_white(tmp_path, kind, mode):
    options = {"lossless": True} if kind == "WEBP" else {}
    image = halves()
    if mode in ("P", "RGB"):  # one colour stands for "transparent"
        image = image.convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else image
        options["transparency"] = image.getpixel((0, 0))
    else:
        image = image.convert(mode)
        image.putalpha(Image.fromarray(np.where(np.arange(64)[None].repeat(64, 0) < 32, 0, 255).astype(np.uint8)))
    assert_halves(decoded(tmp_path, image, kind=kind, **options), WHITE, GREYS[1] if mode == "LA" else BLUE, 1)


def test_half_transparent_is_mixed_with_white(tmp_path):
    image = halves().convert("RGBA")
    image.putalpha(128)
    assert_halves(decoded(tmp_path, image), (227, 147, 142), (137, 157, 217), 1)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "MPO"])
def test_the_first_of_several_pictures(tmp_path, kind):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "MPO" else {}
    others = [Image.new("RGB", (64, 64), "green")] * 2
    pixels = decoded(tmp_path, halves(), kind=kind, save_all=True, append_images=others, **options)
    assert_halves(pixels, RED, BLUE, 4)


STORED = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1),
          6: np.rot90, 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a, -1)}  # by EXIF orientation


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_are_upright(tmp_path, kind, orientation):
    upright = np.random.RandomState(0).randint(0, 256, (2, 3, 3)).astype(np.uint8).repeat(32, 0).repeat(32, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    pixels = decoded(tmp_path, stored, photo.Look(16, 24, "crop", False), kind, exif=exif, **options)
    inner = (slice(2, None, 8), slice(2, None, 8))
    assert np.abs(pixels[inner].astype(int) - upright[::32, ::32]).max() < 8


def test_wide_pictures_are_cut_padded_or_stretched(tmp_path):
    wide = np.zeros((16, 64, 3), np.uint8)
    wide[:, :16], wide[:, 16:48], wide[:, 48:] = RED, WHITE, BLUE
    crop, pad, stretch = (decoded(tmp_path, Image.fromarray(wide), LOOK._replace(resize=how))
                          for how in ("crop", "pad", "stretch"))
    assert np.all(crop == WHITE)
    assert not pad[:3].any()
    assert not pad[5:].any()
    assert_halves(pad[3:5], RED, BLUE, 30)
    assert_halves(stretch, RED, BLUE, 30)
    assert np.abs(stretch[:, 3:5].astype(int) - WHITE).max() <= 30
    tall = decoded(tmp_path, Image.fromarray(wide.swapaxes(0, 1)))
    assert np.all(tall == WHITE)


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 999), (999, 1), (7, 5), (640, 479), (333, 1000)])
def test_every_size_comes_to_the_wanted_one(tmp_path, resize, height, width):
    for look in (photo.Look(48, 64, resize, False), photo.Look(3, 2, resize, True)):
        assert decoded(tmp_path, halves(height, width), look).shape == look.shape


def test_a_large_jpeg_is_that_of_its_pixels(tmp_path):
    """The short way through an eighth of the size gives what the long way gives."""
    y, x = np.mgrid[:1200, :1600]
    image = Image.fromarray(np.stack([x / 7, y / 5, (x + y) / 12], -1).astype(np.uint8))
    short = decoded(tmp_path, image, kind="JPEG", quality=95)
    assert np.abs(short.astype(int) - decoded(tmp_path, image)).max() < 4


def png_header(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def cut(kind, share=0.6):
    out = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)).save(out, kind)
    return out.getvalue()[:int(share * len(out.getvalue()))]


UNUSABLE = {"text": (b"not a picture" * 100, "no JPEG, PNG"), "empty": (b"", "an empty file"),
            "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no JPEG, PNG"),
            "ppm": (b"P6 1 1 255\n123", "no JPEG, PNG"), "bomb": (png_header(11_000, 10_000), "more than 100,000,000"),
            "greater bomb": (png_header(60_000, 60_000), "more than 100,000,000"),
            "float": (None, "values of 32 bits"),
            **{f"cut {kind}": (cut(kind), "cannot be read") for kind in ("JPEG", "PNG", "BMP", "TIFF", "GIF")},
            "cut webp": (cut("WEBP"), "cannot be read"), "head of a JPEG": (cut("JPEG", 0.01), "cannot be read")}


@pytest.mark.parametrize(("content", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_cannot_be_used_is_told(tmp_path, content, reason, capfd):
    path = tmp_path / "picture"
    if content is None:
        Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(path, "TIFF")
    else:
        path.write_bytes(content)
    with pytest.raises(photo.Unusable) as caught:
        photo.decode(str(path), LOOK)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert photo.decode_all([str(path)], LOOK) == [str(caught.value)]


def test_dark_values_of_32_bits_are_no_picture_of_16(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.int32).reshape(8, 8)).save(tmp_path / "a.tif")
    found, = photo.decode_all([str(tmp_path / "a.tif")], LOOK)
    assert found == "values of 32 bits (0 to 63), whose white is not known"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(tmp_path / "b.png")
    found, = photo.decode_all([str(tmp_path / "b.png")], LOOK)
    assert found == "values of 16 bits (0 to 63), whose white is not known"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert photo.decode_all([str(tmp_path / "pipe")], LOOK) == ["no plain file"]


def test_lab_becomes_grey_too():
    assert photo.prepared(Image.new("LAB", (4, 4), (255, 128, 128)), LOOK._replace(grey=True)).mean() > 250


def test_a_missing_file_is_told(tmp_path):
    assert "No such file" in photo.decode_all([str(tmp_path / "none")], LOOK)[0]
