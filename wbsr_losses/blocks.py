"""Pixels in blocks, so that what is worked out for all components at once stays small.

On a CPU a block stays near the cache, which matters more than the number of calls; on a GPU blocks are large, to launch
few kernels. Either way the memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

CPU_VALUES = 1 << 19  # 2 MB of float32
CUDA_SHARE = 4  # blocks are at most a quarter of all pixels


def blocks(x: torch.Tensor, values_per_pixel: int) -> Iterator[tuple[slice, slice]]:
    """Cut images (N, ·, P) in blocks: slices of N and of P that cover every pixel once.

    Args:
        x: the images; N images of P pixels each.
        values_per_pixel: how many numbers the caller holds for one pixel.
    """
    images, pixels = x.shape[0], x.shape[-1]
    if x.device.type == "cpu":
        size = max(256, CPU_VALUES // values_per_pixel)
    else:
        size = max(1 << 14, images * pixels // CUDA_SHARE)
    per_block = max(1, size // max(pixels, 1))
    for first in range(0, images, per_block):
        for start in range(0, pixels, size):
            yield slice(first, first + per_block), slice(start, start + size)
