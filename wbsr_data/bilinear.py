"""How far bilinear upsampling is off on every patch: the measure of SamplingAug (BMVC 2021).

SamplingAug ranks patches by the PSNR of bilinear upsampling against HR, by running sums over the whole image. We take
the root of the mean squared error, which orders them the other way round, the hardest last.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from wbsr_data.gradient import patch_positions, window_sums


def bilinear_error(lr: Tensor, hr: Tensor, patch_size: int, stride: int | None = None) -> Tensor:
    """RMSE between HR and bilinearly upsampled LR, of every patch.

    Args:
        lr: (C, H, W), float, range 0-1.
        hr: (C, scale H, scale W), the same.
        patch_size: side of the square patches in LR pixels.
        stride: distance between patches in LR pixels; None is `patch_size`. Positions: `patch_positions`.

    Returns:
        float32 (rows, cols), 0-1.

    Raises:
        ValueError: sizes of which HR is no whole multiple of LR, a patch size or stride below 1.
    """
    height, width = lr.shape[-2:]
    scale = hr.shape[-2] // height
    if hr.shape[-2:] != (scale * height, scale * width):
        raise ValueError(f"hr must be a whole multiple of lr {tuple(lr.shape)}, got {tuple(hr.shape)}")
    step = patch_size if stride is None else stride
    rows, cols = (patch_positions(side, patch_size, step, lr.device) for side in (height, width))
    up = F.interpolate(lr[None], hr.shape[-2:], mode="bilinear", align_corners=False)[0]
    error = (up - hr).double().square_().mean(0)
    box_h, box_w = (scale * min(patch_size, side) for side in (height, width))
    sums = window_sums(window_sums(error, scale * cols, box_w, -1), scale * rows, box_h, -2)
    return sums.div_(box_h * box_w).clamp_(min=0).sqrt_().float()
