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
    across, down = ((torch.diff(x, dim=dim).abs() > _STEP).any(0) for dim in (2, 1))
    both_across = F.pad(across, (0, 1)) | F.pad(across, (1, 0))  # the two pixels of a step
    both_down = F.pad(down, (0, 0, 0, 1)) | F.pad(down, (0, 0, 1, 0))
    return ~(_spread(both_across, reach, reach - 1) | _spread(both_down, reach - 1, reach))


def flat_patches(x: Tensor, patch_size: int, stride: int, reach: int = REACH) -> Tensor:
    """Which patches are flat.

    Args:
        x: as for `flat_pixels`.
        patch_size: side of the square patches in pixels.
        stride: distance between patches in pixels; positions: `patch_positions`.
        reach: as for `flat_pixels`.

    Returns:
        bool (rows, cols), on the device of `x`.
    """
    counts = (~flat_pixels(x, reach)).double()
    for dim in (-1, -2):
        starts = patch_positions(x.shape[dim], patch_size, stride).to(x.device)
        counts = window_sums(counts, starts, min(patch_size, x.shape[dim]), dim)
    return counts == 0


def _spread(mask: Tensor, rows: int, cols: int) -> Tensor:
    """The mask (H, W), and what lies within so many rows and columns of it."""
    near = mask[None].float()
    near = F.max_pool2d(near, (2 * rows + 1, 1), 1, (rows, 0))
    return F.max_pool2d(near, (1, 2 * cols + 1), 1, (0, cols))[0] > 0
