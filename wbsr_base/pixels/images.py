"""The images of a folder, and encoded bytes to pixels, the same for every source: 8 or 16 bits, three channels, BGR.

What is converted, knowingly: grey becomes three equal channels; an alpha channel that is opaque everywhere is dropped;
palettes become colours; CMYK becomes sRGB by its profile; the EXIF orientation is followed. What is refused, with a
reason: transparency, float pixels, several pictures in one file, and files that are damaged or cut off.

JPEG and plain PNG are decoded by OpenCV, as BasicSR does; all else by `reading.py`.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from wbsr_base.pixels.exif import turn_of
from wbsr_base.pixels.finding import find_images
from wbsr_base.pixels.opening import DAMAGE, NoPictureError, damaged, open_image
from wbsr_base.pixels.picture import Picture, Pixels
from wbsr_base.pixels.png import png_facts
from wbsr_base.pixels.reading import decode_picture

__all__ = ["Pixels", "check_image", "decode_image", "decode_pixels", "find_images", "to_float"]

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"
_ENDINGS = {_JPEG: b"\xff\xd9", _PNG: b"IEND"}
_TAIL = 1024  # bytes at the end of a file in which its end marker is looked for
_TURNED = (5, 6, 7, 8)  # orientations which swap height and width
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # markers of JPEG among those of frame headers, 0xC0 to 0xCF


def decode_image(data: bytes, name: str) -> NDArray[np.float32]:
    """Decode an image.

    Args:
        data: the content of an image file (PNG, JPEG, WebP, TIFF, BMP).
        name: what errors call it: a path or an LMDB key.

    Returns:
        float32 (H, W, 3), BGR, range 0-1; 8-bit values are divided by 255, 16-bit ones by 65535.

    Raises:
        ValueError: the image is damaged, cut off, partly transparent, of another depth, or one of several in its file.
    """
    return to_float(decode_pixels(data, name))


def decode_pixels(data: bytes, name: str) -> Pixels:
    """Decode an image without conversion to float, so that a caller can crop first.

    Args:
        data: as for `decode_image`.
        name: as for `decode_image`.

    Returns:
        uint8 or uint16 (H, W, 3), BGR.

    Raises:
        ValueError: as for `decode_image`.
    """
    if not _is_plain(data):
        try:
            return _opaque_bgr(decode_picture(data, name), name)
        except NoPictureError as error:
            raise _no_image(name) from error
    if not _has_ending(data):
        _check_complete(data, name)
    flag = cv2.IMREAD_COLOR if data.startswith(_JPEG) else cv2.IMREAD_UNCHANGED
    pixels: Pixels | None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:  # more pixels than it takes
        open_image(data, name)
        raise ValueError(f"{name} can't be read ({error}): replace or remove it") from error
    if pixels is None:
        raise _no_image(name)
    return _three_channels(pixels, name)


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """8-bit or 16-bit pixels of any shape as float32, range 0-1."""
    scaled: NDArray[np.float32] = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return scaled


def check_image(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of an image as `decode_image` returns it, and the cheap part of its checks.

    Reads the header and the end alone; only an image that is no plain one, or has an alpha channel, is decoded.

    Raises:
        ValueError: no image format is recognised, the image is cut off, partly transparent or one of several.
    """
    if not _is_plain(data) and not _has_telling_header(data):
        height, width = decode_pixels(data, name).shape[:2]
        return height, width
    if not _has_ending(data):
        _check_complete(data, name)
    image = open_image(data, name)
    if image.mode in ("RGBA", "LA", "PA"):
        decode_pixels(data, name)
    turned = data.startswith(_JPEG) and turn_of(image.getexif()) in _TURNED
    return (image.width, image.height) if turned else (image.height, image.width)


def _no_image(name: str) -> ValueError:
    return ValueError(f"{name} is no image that can be read, or it is damaged: replace or remove it")


def _is_plain(data: bytes) -> bool:
    """Whether OpenCV reads it right: grey or YCbCr in JPEG, PNG without animation, clear colour and orientation."""
    if data.startswith(_JPEG):
        return _jpeg_channels(data) in (1, 3)
    facts = png_facts(data)
    return facts is not None and facts.is_plain


def _has_telling_header(data: bytes) -> bool:
    """Whether the header of a WebP or BMP says that it holds one opaque picture that stands upright."""
    try:
        image = open_image(data, "")
        frames, turn = getattr(image, "n_frames", 1), turn_of(image.getexif())
    except (ValueError, *DAMAGE):
        return False
    return image.format in ("WEBP", "BMP") and image.mode in ("L", "P", "RGB") and frames == turn == 1


def _jpeg_channels(data: bytes) -> int:
    """How many channels a JPEG's frame header names; 0 where there is none."""
    at = 2
    while at + 10 <= len(data):
        if data[at] != 0xFF:
            return 0
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            return data[at + 9]
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return 0


def _opaque_bgr(picture: Picture, name: str) -> Pixels:
    if picture.alpha is not None:
        _check_opaque(picture.alpha, name)
    colour = np.repeat(picture.colour, 3, axis=2) if picture.is_grey else picture.colour[..., ::-1]
    return np.ascontiguousarray(colour)


def _three_channels(pixels: Pixels, name: str) -> Pixels:
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 3:
        return pixels
    if channels == 4:
        _check_opaque(pixels[..., 3], name)
        return np.ascontiguousarray(pixels[..., :3])
    return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)


def _check_opaque(alpha: Pixels, name: str) -> None:
    if (alpha != np.iinfo(alpha.dtype).max).any():
        raise ValueError(f"{name} has transparent pixels, whose colour is unknown: flatten it onto a background")


def _has_ending(data: bytes) -> bool:
    """Whether a PNG or JPEG ends as it must; OpenCV releases differ in what they do with one that was cut off."""
    tail = data[-_TAIL:]
    return all(ending in tail for start, ending in _ENDINGS.items() if data.startswith(start))


def _check_complete(data: bytes, name: str) -> None:
    """Decode strictly: a file without its end marker may still be whole, with other data behind it."""
    image = open_image(data, name)
    try:
        image.load()
    except DAMAGE as error:
        raise damaged(name, error) from error
