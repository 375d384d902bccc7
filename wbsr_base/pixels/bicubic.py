"""Bicubic interpolation, in the two forms that differ at an image's border, by up to 5 % of the range there.

* MATLAB's: the degradation as all super-resolution numbers rest on it. `resize` works on 8-bit pixels, as BasicSR's
  training reads them, and rounds to the nearest level. It is BasicSR's `imresize` without torch, which takes longer to
  import than some pictures take: sums in another order differ in their last bit, so where a value lies halfway between
  two levels, the one or the other is taken, in some pixels of a million of a photograph.
* torch's, antialiased, on any device and in batches: what networks and losses need inside of a run. Within an image it
  equals MATLAB's to 3e-7.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wbsr_base.pixels.images import Pixels, to_float

if TYPE_CHECKING:
    from torch import Tensor

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_WIDTH = 4  # pixels that the kernel covers


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
    if factor == 1:
        return pixels
    upright = _resize_rows(to_float(pixels), factor)
    across = _resize_rows(np.ascontiguousarray(upright.swapaxes(0, 1)), factor)
    return to_uint8(across.swapaxes(0, 1))


def _resize_rows(image: Floats, factor: float) -> Floats:
    """(H, W, 3) to (⌈H·factor⌉, W, 3)."""
    weights, taps = _taps(image.shape[0], factor)
    resized = np.zeros((len(weights), *image.shape[1:]), np.float32)
    for weight, row in zip(weights.T, taps.T, strict=True):
        resized += weight[:, None, None] * image[row]
    return resized


def _taps(length: int, factor: float) -> tuple[Floats, NDArray[np.intp]]:
    """What each pixel of the result sums up along a side: weights and pixels, both (⌈length·factor⌉, taps).

    In float32 and by BasicSR's formulas, so that the weights are the same. Borders are reflected, as often as need be.
    """
    count, shrunk = math.ceil(length * factor), min(factor, 1)
    centre = np.arange(1, count + 1, dtype=np.float32) / np.float32(factor) + np.float32(0.5 * (1 - 1 / factor))
    first = np.floor(centre - np.float32(_WIDTH / shrunk / 2))
    at = first[:, None] + np.arange(math.ceil(_WIDTH / shrunk) + 2, dtype=np.float32)
    weights = np.float32(shrunk) * _cubic((centre[:, None] - at) * np.float32(shrunk))
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights.any(axis=0)
    place = np.mod(at[:, used].astype(np.intp) - 1, 2 * length)  # from 0 now, and in an image beside its mirror image
    return weights[:, used], np.minimum(place, 2 * length - 1 - place)


def _cubic(x: Floats) -> Floats:
    """Keys' kernel with a = -0.5."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0)).astype(np.float32)


def upscale_as_matlab(image: Tensor, scale: int) -> Tensor:
    """(C, H, W) to (C, scale H, scale W), not clamped; by MATLAB's rules, on the CPU."""
    from wbsr_base.basicsr import imresize

    enlarged: Tensor = imresize(image.cpu(), scale)
    return enlarged


def interpolate(images: Tensor, height: int, width: int) -> Tensor:
    """(N, C, H, W) to (N, C, height, width), not clamped; by torch's rules, on the images' device, with gradients. Half
    precision, which torch does not interpolate on a CPU, is computed in float32.

    With `antialias` torch takes MATLAB's kernel (a = -0.5) for enlarging too, where its own has a = -0.75.
    """
    from torch import float64
    from torch.nn import functional as F

    working = images if images.dtype == float64 else images.float()
    resized: Tensor = F.interpolate(working, size=(height, width), mode="bicubic", antialias=True)
    return resized.to(images.dtype)
