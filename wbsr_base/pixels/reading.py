"""Picture files to pictures: PNG, JPEG, WebP, TIFF and BMP of 8 or 16 bits, grey or RGB, with or without alpha.

Pillow reads the file and its metadata. What it would cut down or misread comes from elsewhere: `png.py`, `tiff.py`.
Whatever is not read right is refused by name.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from wbsr_base.pixels.cmyk import to_srgb
from wbsr_base.pixels.exif import carried, turn_of, upright
from wbsr_base.pixels.opening import DAMAGE, damaged, open_image
from wbsr_base.pixels.picture import Picture, Pixels
from wbsr_base.pixels.png import deep_pixels, keyed_alpha, png_facts
from wbsr_base.pixels.webp import is_lossless_webp, same_grey

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how a file begins; the last two are BigTIFF
_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}  # what these become
_KEPT = {"L", "LA", "RGB", "RGBA", "CMYK"}

Planes = tuple[Pixels, Pixels | None]  # colour (H, W, 1, 3, or 4 of CMYK) and alpha (H, W)


def read_picture(path: Path, frame: int | None = None) -> Picture:
    """Read a picture and turn it upright.

    Args:
        path: of the file.
        frame: which of several pages or moving pictures, counted from 1; None: there must be one.

    Raises:
        OSError: the file can't be read.
        ValueError: it is no picture, damaged, has several or fewer pictures, or is of a kind that is not read.
    """
    return decode_picture(path.read_bytes(), str(path), frame)


def decode_picture(data: bytes, name: str, frame: int | None = None) -> Picture:
    """A picture from the content of its file, which errors call `name`; all else as for `read_picture`."""
    if data.startswith(_TIFF):
        return _tiff(data, name, frame)
    image = open_image(data, name)
    try:
        hides = image.format == "MPO" and frame is None  # phones put a second picture behind
        several = 1 if hides else getattr(image, "n_frames", 1)
    except DAMAGE as error:
        raise damaged(name, error) from error
    number = _number(frame, several, name)
    try:
        if number:
            image.seek(number)
        image.load()
        exif = image.getexif()
    except DAMAGE as error:
        raise damaged(name, error) from error
    colour, alpha = _pixels(image, data, name, number)
    icc = image.info.get("icc_profile") or None
    if image.mode == "CMYK":
        colour, icc = to_srgb(colour, icc, name)
    lossless = image.format == "WEBP" and is_lossless_webp(data)
    if image.format == "WEBP" and not lossless:
        colour = same_grey(colour)
    return _upright(colour, alpha, turn_of(exif), icc, carried(exif, name), lossless)


def _tiff(data: bytes, name: str, frame: int | None) -> Picture:
    from wbsr_base.pixels.tiff import read_tiff

    found = read_tiff(data, name, lambda several: _number(frame, several, name))
    colour, icc = found.colour, found.icc
    if colour.shape[2] == 4:
        colour, icc = to_srgb(colour, icc, name)
    exif = None
    with suppress(*DAMAGE):  # a layout that Pillow doesn't know
        image = open_image(data, name)
        image.seek(found.page)
        exif = carried(image.getexif(), name)
    return _upright(colour, found.alpha, found.turn, icc, exif, False)


def _upright(
    colour: Pixels, alpha: Pixels | None, turn: int, icc: bytes | None, exif: bytes | None, lossless: bool
) -> Picture:
    return Picture(upright(colour, turn), None if alpha is None else upright(alpha, turn), icc, exif, lossless)


def _number(frame: int | None, several: int, name: str) -> int:
    """Which picture of a file, counted from 0."""
    if frame is None and several > 1:
        raise ValueError(
            f"{name} holds {several} pictures, where one is wanted: save it in a file of its own, or choose it by "
            "`wbsr upscale --frame N`"
        )
    chosen = 1 if frame is None else frame
    if not 1 <= chosen <= several:
        raise ValueError(f"frame must be in 1..{several} for {name}, which holds {several}, got {frame}")
    return chosen - 1


def _pixels(image: Image.Image, data: bytes, name: str, number: int) -> Planes:
    facts = png_facts(data)
    if facts is not None and facts.bits == 16:
        if number:
            raise ValueError(f"{name} is a moving PNG of 16 bits, of which frame 1 alone can be read: save it apart")
        return deep_pixels(data, facts, name)
    if facts is not None and facts.key and not number:
        colour = np.asarray(image.convert("L" if len(facts.key) == 1 else "RGB"))
        colour = colour[..., None] if colour.ndim == 2 else colour
        return colour, keyed_alpha(colour, facts)
    mode = _MODES.get(image.mode, image.mode)
    if "transparency" in image.info and mode in ("L", "RGB"):
        mode = {"L": "LA", "RGB": "RGBA"}[mode]
    if mode not in _KEPT:
        raise ValueError(f"{name} must be grey, RGB or CMYK of 8 or 16 bits, got mode {image.mode}: convert it first")
    pixels = np.asarray(image.convert(mode))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if mode.endswith("A"):
        colour, alpha = pixels[..., :-1], pixels[..., -1]
        return colour, None if image.format == "BMP" and not alpha.any() else alpha  # 32 bits of which 8 are unused
    return pixels, None
