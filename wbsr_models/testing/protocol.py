"""The test protocol of ClassSR and ARM, so that figures can be set beside theirs.

An image is cut into patches of 32 x 32 LR pixels every 28 pixels. Each is routed and upscaled alone, without
surroundings, and where patches overlap their outputs are averaged. Rows and columns at the right and bottom that no
whole patch covers are left out, of the output and of the HR image it is measured against. All patches count alike in
the share of FLOPs, overlaps included. Two things differ from their testers: patches are batched, and outputs are
averaged as floats, not after rounding to 8 bits.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wbsr_base.devices import seconds_at
from wbsr_models.inference.report import Report
from wbsr_models.inference.tiling import make_tile
from wbsr_models.inference.upscaler import DynamicUpscaler

Protocol = Literal["whole", "classsr"]
PATCH, STRIDE = 32, 28  # LR pixels


def covered(length: int, patch_size: int = PATCH, stride: int = STRIDE) -> int:
    """How much of a side whole patches cover, from its beginning, in LR pixels.

    Raises:
        ValueError: the side is shorter than a patch.
    """
    if length < patch_size:
        raise ValueError(
            f"protocol classsr needs LR images of at least {patch_size} pixels a side, got one of {length}: remove it, "
            "or set val:dynamic:protocol: whole"
        )
    return (length - patch_size) // stride * stride + patch_size


class PatchProtocol:
    """Upscales an image patch by patch as ClassSR and ARM test it; called like the `DynamicUpscaler` that it runs.

    Args:
        upscaler: routes and holds the networks.
        patch_size: LR pixels.
        stride: LR pixels from patch to patch, at most `patch_size`.
    """

    def __init__(self, upscaler: DynamicUpscaler, patch_size: int = PATCH, stride: int = STRIDE) -> None:
        self.upscaler, self.patch_size, self.stride = upscaler, patch_size, stride

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[Tensor, Report]:
        """Upscale (1, C, H, W) RGB, range 0-1: the covered part (1, C, scale h, scale w), and the report.

        Raises:
            ValueError: the image is smaller than a patch.
        """
        start = seconds_at(image.device)
        height, width = (covered(side, self.patch_size, self.stride) for side in image.shape[-2:])
        lr = image[0, :, :height, :width]
        choice = self.upscaler.route(lr, self.patch_size, self.stride)
        corners = itertools.product(*(range(0, side - self.patch_size + 1, self.stride) for side in (height, width)))
        side = self.patch_size
        tiles = [
            make_tile(int(subnet), top, top + side, left, left + side, 0, height, width)
            for subnet, (top, left) in zip(choice.ravel(), corners, strict=True)
        ]
        runner, scale = self.upscaler.runner, self.upscaler.network.scale
        total: Tensor | None = None
        for tile, output in runner.outputs(lr, tiles):
            if total is None:
                total = self.upscaler.memory.new_canvas(lr, output.shape[0]).zero_()
            total[tile.target(scale)] += output.to(total)
        assert total is not None  # an image that is covered has a patch
        down, across = (self._counts(side).repeat_interleave(scale).to(total) for side in (height, width))
        total /= down[:, None] * across
        run = np.array([*self.upscaler.flops_shares, 0.0])[choice].mean()  # last: number -1, bicubic
        times = choice.size * self.patch_size**2 / (height * width)  # a pixel is computed, on average
        return total[None], self.upscaler.report(choice, (run + self.upscaler.router_share) * times, start)

    def _counts(self, length: int) -> Tensor:
        """(length,): how many patches cover each pixel of a side."""
        counts = torch.zeros(length)
        for first in range(0, length - self.patch_size + 1, self.stride):
            counts[first : first + self.patch_size] += 1
        return counts
