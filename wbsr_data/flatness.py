"""Where nothing happens: pixels and patches around which no neighbours differ by more than one level of 8 bits.

There a network has nothing to add to interpolation. It looks at every channel, for a red edge on green may have no
luma, and at single steps, for a thin line hardly moves a patch's RMS gradient:

    busy(p)  =  max over channels and the four neighbours q of |x(p) - x(q)|  >  1 level
    flat(p)  =  no pixel within `reach` of p is busy, in either direction

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
        reach: pixels around a pixel that must be still as well, at least 0.

    Returns:
        bool (H, W), on the device of `x`.
    """
    busy = torch.zeros(x.shape[1:], dtype=torch.bool, device=x.device)
    down = (torch.diff(x, dim=1).abs() > _STEP).any(0)
    across = (torch.diff(x, dim=2).abs() > _STEP).any(0)
    busy[1:] |= down
    busy[:-1] |= down
    busy[:, 1:] |= across
    busy[:, :-1] |= across
    spread = busy[None].float()
    for size in ((1, 2 * reach + 1), (2 * reach + 1, 1)):
        spread = F.max_pool2d(spread, size, 1, (size[0] // 2, size[1] // 2))
    return spread[0] == 0


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
