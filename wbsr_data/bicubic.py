"""Degradation as all super-resolution numbers rest on it: MATLAB-style bicubic, through BasicSR's `imresize`.

Pixels are 8-bit before and after, as BasicSR's training reads them; the result of `imresize` is rounded to the nearest
level, so an LR image made here equals the one that anybody makes from the same HR image with BasicSR.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbsr import compat
from wbsr_data.images import Pixels, to_float

compat.install()

from basicsr.utils.matlab_functions import imresize  # noqa: E402

Bytes = NDArray[np.uint8]


def to_uint8(image: NDArray[np.floating[Any]]) -> Bytes:
    """Range 0-1 to the nearest of 0-255; what lies outside is clipped."""
    return np.asarray((image * 255).round().clip(0, 255), dtype=np.uint8)


def to_8_bits(pixels: Pixels) -> Bytes:
    """16-bit pixels to the nearest 8-bit level; 8-bit ones as they are."""
    return pixels if pixels.dtype == np.uint8 else to_uint8(to_float(pixels))


def crop_to_multiple(pixels: Bytes, multiple: int) -> Bytes:
    """Cut off at the bottom and the right, until both sides are a multiple; the result may be empty."""
    height, width = (side - side % multiple for side in pixels.shape[:2])
    return pixels[:height, :width]


def resize(pixels: Bytes, factor: float) -> Bytes:
    """MATLAB-style bicubic with antialiasing.

    Args:
        pixels: (H, W, 3).
        factor: above 0; 1/scale makes the LR image of an HR image.

    Returns:
        (⌈H·factor⌉, ⌈W·factor⌉, 3).
    """
    return pixels if factor == 1 else to_uint8(imresize(to_float(pixels), factor))
