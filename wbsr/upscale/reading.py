"""Picture files to pictures: PNG, JPEG, WebP, TIFF and BMP of 8 or 16 bits, grey or RGB, with or without alpha.

Pillow reads the file and its metadata. It would cut 16-bit colour down to 8 bits, so those pixels come from OpenCV.
"""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from wbsr.upscale.picture import Picture, Pixels

_logger = logging.getLogger("wbsr")

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_MODES = {"1": "L", "P": "RGB", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}  # what these become
_KEPT = {"L", "LA", "RGB", "RGBA"}
_DEEP_GREY = ("I;16", "I;16B", "I;16L")
_PNG_DEPTH, _PNG_TYPE, _PNG_GREY_ALPHA = 24, 25, 4  # bytes of the header, and a value of the second
_BITS_PER_SAMPLE = 258  # TIFF tag
_TAGS = tuple(
    tag.value
    for tag in (
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.Copyright,
    )
)
# What Pillow lets through where a file is damaged, metadata above all.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
)
_BLOCKS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_STALE = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)


def read_picture(path: Path) -> Picture:
    """Read a picture and turn it upright.

    Raises:
        OSError: the file can't be read.
        ValueError: it is no picture, damaged, has several pages, or is neither grey nor RGB of 8 or 16 bits.
    """
    data = path.read_bytes()
    image, exif = _load(data, path)
    colour, alpha = _pixels(image, data, path)
    turn = exif.get(ExifTags.Base.Orientation, 1)
    icc = image.info.get("icc_profile") or None
    return Picture(upright(colour, turn), None if alpha is None else upright(alpha, turn), icc, _carried(exif, path))


def _load(data: bytes, path: Path) -> tuple[Image.Image, Image.Exif]:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        frames = getattr(image, "n_frames", 1)
        image.load()
        exif = image.getexif()
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no PNG, JPEG, WebP, TIFF or BMP picture, or its start is damaged") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large a picture: {error}") from error
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged or cut off: {error}") from error
    if frames > 1 and image.format != "MPO":  # a JPEG with a second picture behind, as phones write it
        raise ValueError(f"{path} holds {frames} pictures: save the one you want in a file of its own")
    return image, exif


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels (H, W, ...) as an EXIF orientation of 1 to 8 wants them shown; any other value changes nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _pixels(image: Image.Image, data: bytes, path: Path) -> tuple[Pixels, Pixels | None]:
    """Colour (H, W, 1 or 3) and alpha (H, W)."""
    if image.mode in _DEEP_GREY:
        return np.asarray(image).astype(np.uint16)[..., None], None
    if _is_deep(image, data):
        return _deep_colour(data, path)
    mode = _MODES.get(image.mode, image.mode)
    if "transparency" in image.info and mode in ("L", "RGB"):
        mode = {"L": "LA", "RGB": "RGBA"}[mode]
    if mode not in _KEPT:
        raise ValueError(f"{path} must be grey or RGB of 8 or 16 bits, got mode {image.mode}: convert it first")
    pixels = np.asarray(image.convert(mode))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if mode.endswith("A"):
        return pixels[..., :-1], pixels[..., -1]
    return pixels, None


def _is_deep(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return data[_PNG_DEPTH] == 16
    if image.format == "TIFF":
        bits = image.getexif().get(_BITS_PER_SAMPLE, 8)
        return 16 in (bits if isinstance(bits, tuple) else (bits,))
    return False


def _deep_colour(data: bytes, path: Path) -> tuple[Pixels, Pixels | None]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise ValueError(f"{path} must be grey or RGB, with or without alpha, to be read at 16 bits: convert it first")
    alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
    if data.startswith(b"\x89PNG") and data[_PNG_TYPE] == _PNG_GREY_ALPHA:
        return pixels[..., :1], alpha
    return pixels[..., 2::-1], alpha


def _carried(exif: Image.Exif, path: Path) -> bytes | None:
    """What an EXIF block says of the shot, without orientation, sizes and thumbnail, which no longer fit."""
    kept = Image.Exif()
    try:
        for tag in _TAGS:
            if tag in exif:
                kept[tag] = exif[tag]
        for block in _BLOCKS:
            values = {tag: value for tag, value in exif.get_ifd(block).items() if tag not in _STALE}
            if values:
                kept[block] = values
        return kept.tobytes() if len(kept) else None
    except _DAMAGE as error:
        _logger.warning("%s: its EXIF is damaged and left out (%s).", path, error)
        return None
