"""How textured each place of an image is: RMS gradient magnitude over cells of 16 x 16 HR pixels.

The score of the difficulty classes (Eq. 7), here of HR targets and finer: few cells are strongly textured, many are
flat. All pixels of a cell have one value, so a weight made from it favours no direction in which to predict.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 16
LUMA = (0.299, 0.587, 0.114)  # BT.601, for R, G, B


@torch.no_grad()
def local_texture(images: Tensor) -> Tensor:
    """The texture of the cell that each pixel is in.

    Args:
        images: RGB (N, 3, H, W), range 0-1.

    Returns:
        (N, 1, H, W), 0 where an image is flat, at most sqrt(2); cells at the right and bottom border may be smaller.
    """
    red, green, blue = (images[:, c : c + 1] for c in range(3))
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    energy = F.pad(luma.diff(dim=-1).square(), (0, 1)) + F.pad(luma.diff(dim=-2).square(), (0, 0, 0, 1))
    cells = F.avg_pool2d(energy, CELL, ceil_mode=True).sqrt()
    height, width = images.shape[-2:]
    return cells.repeat_interleave(CELL, -2).repeat_interleave(CELL, -1)[..., :height, :width]
