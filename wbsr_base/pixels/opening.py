"""Image files opened by Pillow: which formats, how large, and what its many exceptions mean."""

from __future__ import annotations

import io
import struct
import threading
import warnings

from PIL import Image, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
MOST_PIXELS = 2**30  # of an image; OpenCV has the same bound

# What Pillow lets through where a file is damaged, metadata above all.
DAMAGE = (
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

_unbounded = threading.Lock()


class NoPictureError(ValueError):
    """The data are of none of the formats."""


def damaged(name: str, why: object) -> ValueError:
    """The error for a file that breaks while it is read."""
    return ValueError(f"{name} is damaged or cut off ({why}): replace or remove it")


def open_image(data: bytes, name: str) -> Image.Image:
    """An image file whose header is read, and no pixel.

    Pillow's own bound is a sixth of ours: it is meant for servers, and large scans pass it.

    Raises:
        NoPictureError, ValueError: it is no image, its header is damaged, or it is larger than `MOST_PIXELS`.
    """
    try:
        with _unbounded, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of tags that Pillow doesn't know
            bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(io.BytesIO(data), formats=FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = bound
    except UnidentifiedImageError:
        raise NoPictureError(
            f"{name} is no PNG, JPEG, WebP, TIFF or BMP picture, or its start is damaged: replace or remove it"
        ) from None
    except DAMAGE as error:
        raise damaged(name, error) from error
    check_size(image.width, image.height, name)
    return image


def check_size(width: int, height: int, name: str) -> None:
    """Refuse what no reader takes.

    Raises:
        ValueError: more pixels than `MOST_PIXELS`.
    """
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{name} has {width} x {height} = {width * height:,} pixels, and at most {MOST_PIXELS:,} can be read: cut "
            "it up"
        )
