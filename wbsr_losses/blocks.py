"""Pixels in blocks, so that what is worked out for all components at once stays small.

On a CPU a block stays near the cache, which matters more than the number of calls; on a GPU a batch of patches is one
block, to launch few kernels. Either way the memory is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

CPU_VALUES = 1 << 19  # 2 MB of float32
CUDA_VALUES = 1 << 26  # 256 MB


def blocks(x: torch.Tensor, values_per_pixel: int) -> Iterator[tuple[slice, slice]]:
    """Cut images (N, ·, P) in blocks: slices of N and of P that cover every pixel once.

    Args:
        x: the images; N images of P pixels each.
        values_per_pixel: how many numbers the caller holds for one pixel.
    """
    images, pixels = x.shape[0], x.shape[-1]
    size = max(256, (CPU_VALUES if x.device.type == "cpu" else CUDA_VALUES) // values_per_pixel)
    per_block = max(1, size // max(pixels, 1))
    for first in range(0, images, per_block):
        for start in range(0, pixels, size):
            yield slice(first, first + per_block), slice(start, start + size)


def by_blocks(
    work: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]], x: torch.Tensor, values_per_pixel: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two results of `work` on images (N, C, P), as large as they, worked out by `blocks`."""
    cut = list(blocks(x, values_per_pixel))
    if len(cut) == 1:
        return work(x)
    one, other = torch.empty_like(x), torch.empty_like(x)
    for n, p in cut:
        one[n, :, p], other[n, :, p] = work(x[n, :, p])
    return one, other
