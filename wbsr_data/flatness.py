"""Where nothing happens: pixels and patches around which no neighbours differ by more than one level of 8 bits.

There a network has nothing to add to interpolation. It looks at every channel, for a red edge on green may have no
luma, and at single steps, for a thin line hardly moves a patch's RMS gradient. A pixel is flat where

    max over channels, and over neighbours p and q that both lie within `reach` of it, of |x(p) - x(q)|  <=  1 level

A patch is flat where all its pixels are, so it is flat in its surroundings too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wbsr_data.gradient import patch_positions, window_sums

REACH = 2  # pixels, which interpolation reads
_STEP = 1.5 / 255  # more than one level, however it was rounded


def flat_pixels(x: Tensor, reach: int = REACH) -> Tensor:
    """Which pixels are flat.

    Args:
        x: (C, H, W), float, range 0-1.
        reach: pixels around a pixel that must be still as well, at least 1.

    Returns:
        bool (H, W), on the device of `x`.

    Raises:
        ValueError: a reach below 1.
    """
    if reach < 1:
        raise ValueError(f"reach must be at least 1, got {reach}")
    across, down = (torch.diff(x, dim=dim).abs().amax(0, keepdim=True) for dim in (2, 1))
    pixels, steps = 2 * reach + 1, 2 * reach
    highest = torch.maximum(_highest(across, reach, pixels, steps), _highest(down, reach, steps, pixels))
    return highest[0] <= _STEP


def patches_within(pixels: Tensor, patch_size: int, stride: int) -> Tensor:
    """Which patches hold no other pixels than these: of `flat_pixels`, which are flat all over.

    Args:
        pixels: bool (H, W).
        patch_size: side of the square patches in pixels.
        stride: distance between patches in pixels; positions: `patch_positions`.

    Returns:
        bool (rows, cols), on the device of `pixels`.
    """
    counts = (~pixels).double()
    for dim in (-1, -2):
        starts = patch_positions(pixels.shape[dim], patch_size, stride, pixels.device)
        counts = window_sums(counts, starts, min(patch_size, pixels.shape[dim]), dim)
    return counts == 0


def _highest(steps: Tensor, reach: int, rows: int, cols: int) -> Tensor:
    """(1, H, W): the highest step within `reach` of each pixel, of steps (1, H, W - 1) across or (1, H - 1, W) down.

    A window of `rows` x `cols` steps holds those of which both pixels lie within reach.
    """
    around = F.pad(steps, (reach, reach, reach, reach))
    return F.max_pool2d(F.max_pool2d(around, (rows, 1), 1), (1, cols), 1)
