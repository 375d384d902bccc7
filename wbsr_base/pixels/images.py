"""The images of a folder, and encoded bytes to pixels, the same for every source: 8 or 16 bits, three channels, BGR.

What is converted, knowingly: grey becomes three equal channels; an alpha channel that is opaque everywhere is dropped;
palettes become colours; the EXIF orientation of a JPEG is followed, as BasicSR does. What is refused, with a reason:
transparency, float pixels, and files that are damaged or cut off.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Pixels = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"
_ENDINGS = {_JPEG: b"\xff\xd9", _PNG: b"IEND"}
_TAIL = 1024  # bytes at the end of a file in which its end marker is looked for
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF tag, and its values which swap height and width


def find_images(folder: Path) -> list[Path]:
    """The images in a folder and its subfolders, sorted; hidden files and other endings are left alone.

    Raises:
        FileNotFoundError: no image there.
    """
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise FileNotFoundError(f"no image in {folder}: it must hold files ending in {', '.join(sorted(SUFFIXES))}")
    return paths


def decode_image(data: bytes, name: str) -> NDArray[np.float32]:
    """Decode an image.

    Args:
        data: the content of an image file (PNG, JPEG, WebP, TIFF, BMP).
        name: what errors call it: a path or an LMDB key.

    Returns:
        float32 (H, W, 3), BGR, range 0-1; 8-bit values are divided by 255, 16-bit ones by 65535.

    Raises:
        ValueError: the image is damaged, cut off, partly transparent, or of another depth.
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
    if not _has_ending(data):
        _check_complete(data, name)
    flag = cv2.IMREAD_COLOR if data.startswith(_JPEG) else cv2.IMREAD_UNCHANGED
    pixels: Pixels | None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # an empty buffer
        pixels = None
    if pixels is None:
        raise ValueError(f"{name} is no image that can be read, or it is damaged: replace or remove it")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{name} must have 8 or 16 bits per channel, got {pixels.dtype}: convert it to PNG")
    return _three_channels(pixels, name)


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """8-bit or 16-bit pixels of any shape as float32, range 0-1."""
    scaled: NDArray[np.float32] = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return scaled


def check_image(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of an image as `decode_image` returns it, and the cheap part of its checks.

    Reads the header and the end alone; only an image with an alpha channel is decoded, to see whether it is opaque.

    Raises:
        ValueError: no image format is recognised, the image is cut off, or it is partly transparent.
    """
    if not _has_ending(data):
        _check_complete(data, name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            turned = data.startswith(_JPEG) and image.getexif().get(_ORIENTATION) in _TURNED
    except UnidentifiedImageError:
        raise ValueError(f"{name} is no image that can be read, or it is damaged: replace or remove it") from None
    if has_alpha:
        decode_pixels(data, name)
    return (width, height) if turned else (height, width)


def _three_channels(pixels: Pixels, name: str) -> Pixels:
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 3:
        return pixels
    if channels == 4:
        if (pixels[..., 3] != np.iinfo(pixels.dtype).max).any():
            raise ValueError(f"{name} has transparent pixels, whose colour is unknown: flatten it onto a background")
        return np.ascontiguousarray(pixels[..., :3])
    if channels == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    raise ValueError(f"{name} must have 1, 3 or 4 channels, got {channels}: convert it to RGB")


def _has_ending(data: bytes) -> bool:
    """Whether a PNG or JPEG ends as it must; OpenCV releases differ in what they do with one that was cut off."""
    tail = data[-_TAIL:]
    return all(ending in tail for start, ending in _ENDINGS.items() if data.startswith(start))


def _check_complete(data: bytes, name: str) -> None:
    """Decode strictly: a file without its end marker may still be whole, with other data behind it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name} is damaged or cut off ({error}): replace or remove it") from error
