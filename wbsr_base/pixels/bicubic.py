"""Bicubic interpolation, in the two forms that differ at an image's border, by up to 5 % of the range there.

* MATLAB's, through BasicSR's `imresize`: the degradation as all super-resolution numbers rest on it. `resize` works on
  8-bit pixels, as BasicSR's training reads them, and rounds to the nearest level, so an LR image made here equals the
  one that anybody makes from the same HR image with BasicSR.
* torch's, antialiased, on any device and in batches: what networks and losses need inside of a run. Within an image it
  equals MATLAB's to 3e-7.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wbsr_base.pixels.images import Pixels, to_float

Bytes = NDArray[np.uint8]

_REFLECTED = 8  # pixels of the result that a small image is continued by; the kernel reads 2


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

    Raises:
        ValueError: a side of a few pixels under a factor that is not one over a whole number.
    """
    from wbsr_base.basicsr import imresize

    if factor == 1:
        return pixels
    try:
        return to_uint8(imresize(to_float(pixels), factor))
    except RuntimeError as error:  # BasicSR reflects a border once, and a side of a few pixels is reflected again
        step = round(1 / factor)
        if step < 2 or not math.isclose(step * factor, 1):
            size = f"{pixels.shape[0]} x {pixels.shape[1]}"
            raise ValueError(f"an image of {size} pixels is too small to be resized by {factor:g}") from error
    around = _REFLECTED * step
    wide = np.pad(pixels, ((around, around), (around, around), (0, 0)), mode="symmetric")
    rows, cols = (-(-side // step) for side in pixels.shape[:2])
    return resize(wide, factor)[_REFLECTED : _REFLECTED + rows, _REFLECTED : _REFLECTED + cols]


def upscale_as_matlab(image: Tensor, scale: int) -> Tensor:
    """(C, H, W) to (C, scale H, scale W), not clamped; by MATLAB's rules, on the CPU."""
    from wbsr_base.basicsr import imresize

    enlarged: Tensor = imresize(image.cpu(), scale)
    return enlarged


def interpolate(images: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) to (N, C, height, width), not clamped; by torch's rules, on the images' device, with gradients.

    With `antialias` torch takes MATLAB's kernel (a = -0.5) for enlarging too, where its own has a = -0.75.
    """
    resized: Tensor = F.interpolate(images, size=(height, width), mode="bicubic", antialias=True)
    return resized
