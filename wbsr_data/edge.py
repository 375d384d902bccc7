"""How much edge there is in a patch: ARM's score (Chen et al., ECCV 2022), the mean absolute Laplacian of its luma.

    score = mean over the patch of min(|L|, 255) / 255        L = |2  0  2|
                                                                  |0 -8  0|  * luma, in 8-bit levels
                                                                  |2  0  2|

ARM scores one patch at a time by OpenCV: luma (BT.601) in whole levels of 0-255, the Laplacian with ksize 3 (the kernel
above), absolute values cut off at 255. The same here for all patches at once, divided by 255, so the score is in 0-1.
Luma is a whole number of levels, every sum is exact, and CPU and GPU agree bit for bit.

Border rule: OpenCV's default, and so ARM's. Each patch stands alone and is reflected about its outermost pixels
(`dcb|abcd|cba`), so a patch scores the same alone and inside its image. A side of one pixel repeats it. An image that
is smaller than a patch is scored over what there is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wbsr_data.gradient import patch_positions, to_luma

_LEVELS = 255


def edge_score(x: Tensor, patch_size: int, stride: int | None = None) -> Tensor:
    """Mean absolute Laplacian of every patch.

    Args:
        x: (C, H, W) or (N, C, H, W), float, range 0-1; C = 3 is RGB, C = 1 is grey.
        patch_size: side of the square patches in pixels.
        stride: distance between patches in pixels; None is `patch_size`. Positions: `patch_positions`.

    Returns:
        float32 (rows, cols) or (N, rows, cols), on the device of `x`, in 0-1; 0 for a flat patch.

    Raises:
        ValueError: another shape, a patch size or stride below 1.
        TypeError: `x` is not of a float type.
    """
    levels = (to_luma(x) * _LEVELS).round_().float()
    patches = _reflected(_reflected(levels, patch_size, stride, -1), patch_size, stride, -3)
    top, inner, bottom = (patches[..., part, :, :] for part in (slice(None, -2), slice(1, -1), slice(2, None)))
    corners = top[..., :-2] + top[..., 2:] + bottom[..., :-2] + bottom[..., 2:]  # (..., rows, h, cols, w)
    laplacian = 2 * corners - 8 * inner[..., 1:-1]
    sums = laplacian.abs_().clamp_(max=_LEVELS).sum((-3, -1), dtype=torch.float64)
    return (sums / (_LEVELS * laplacian.shape[-3] * laplacian.shape[-1])).float()


def _reflected(values: Tensor, patch_size: int, stride: int | None, dim: int) -> Tensor:
    """Cut a dimension into patches, each with its reflected border: (..., L, ...) -> (..., n, size + 2, ...)."""
    length = values.shape[dim]
    starts = patch_positions(length, patch_size, patch_size if stride is None else stride, values.device)
    size = min(patch_size, length)
    inside = torch.arange(-1, size + 1, device=values.device).abs_()  # -1 is reflected to 1, and `size` to size - 2
    inside = (size - 1) - ((size - 1) - inside).abs_()
    places = (starts[:, None] + inside.clamp_(min=0)).flatten()
    dim %= values.ndim
    shape = (*values.shape[:dim], len(starts), size + 2, *values.shape[dim + 1 :])
    return values.index_select(dim, places).view(shape)
