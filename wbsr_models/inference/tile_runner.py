"""Executes plans of tiles: batches by (subnet, window) through the pool's networks, stitched on one canvas.

The image is laid out channels-last once, and windows are cut from it; each output is written to the canvas without its
halo, so every pixel is written once. Memory is bounded by the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from wbsr_base.devices import keep_freed_blocks
from wbsr_base.precision import dtype_of
from wbsr_models.inference.memory import Memory
from wbsr_models.inference.planner import TilePlan
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.tiling import Tile
from wbsr_models.inference.trimming import NO_MARGINS, Margins

# LR pixels of a batch: beyond these a device is busy, and larger batches only leave the cache.
_BUSY_CPU, _BUSY_GPU = 2**12, 2**20


class TileRunner:
    """Upscales an image tile by tile.

    Args:
        pool: the networks, and the settings that they are made by.
        memory: what fits.
    """

    def __init__(self, pool: NetworkPool, memory: Memory) -> None:
        self.pool, self.memory = pool, memory

    @torch.no_grad()
    def __call__(self, lr: Tensor, plan: TilePlan) -> Tensor:
        """Run the plan of an LR image (C, H, W): (C, scale H, scale W), each tile's pixels written once.

        Raises:
            ValueError: there is no tile, and no interpolation.
        """
        if lr.device.type == "cpu":
            keep_freed_blocks()
        if len(plan.tiles) == 1 and plan.tiles[0].is_whole(*lr.shape[-2:]):
            # Not in inference mode, whose tensors may not be written to: the output is the result.
            output = self._call(self.pool.network(plan.tiles[0].subnet), self._laid_out(lr))[0]
            return output.to("cpu" if self.memory.on_cpu(lr) else lr.device, lr.dtype)
        canvas: Tensor | None = None
        if plan.interpolates:
            canvas = self.pool.interpolation((lr.cpu() if self.memory.on_cpu(lr) else lr)[None])[0]
        for tile, output in self.outputs(lr, plan.tiles):
            if canvas is None:
                canvas = self.memory.new_canvas(lr, output.shape[0])
            self._write(canvas, tile, output)
        if canvas is None:
            raise ValueError("there is no tile to run: the image is empty")
        return canvas

    @torch.no_grad()
    def outputs(self, lr: Tensor, tiles: Sequence[Tile]) -> Iterator[tuple[Tile, Tensor]]:
        """Each tile of an LR image (C, H, W) with the output of its window, (C, scale h, scale w), in any order."""
        if lr.device.type == "cpu":
            keep_freed_blocks()
        settings, image = self.pool.settings, self._laid_out(lr)
        groups: defaultdict[tuple[int, int, int, Margins], list[Tile]] = defaultdict(list)
        for tile in tiles:
            groups[tile.subnet, tile.window_height, tile.window_width, self._margins(tile)].append(tile)
        limit = min(settings.batch_pixels or (_BUSY_GPU if lr.is_cuda else _BUSY_CPU), self.memory.batch_pixels(lr))
        for (subnet, height, width, margins), members in groups.items():
            network = self.pool.network(subnet, margins)
            size = max(1, limit // (height * width))
            for first in range(0, len(members), size):
                batch = members[first : first + size]
                yield from zip(batch, self._run(network, image, batch), strict=True)

    def _laid_out(self, lr: Tensor) -> Tensor:
        """(1, C, H, W) as networks read it fastest."""
        return lr[None].to(dtype_of(self.pool.settings.precision)).contiguous(memory_format=torch.channels_last)

    def _margins(self, tile: Tile) -> Margins:
        """What a network has to know of a tile's margins: nothing, where it is not trimmed."""
        return tile.margins if self.pool.head(tile.subnet).stages else NO_MARGINS

    def _run(self, network: nn.Module, image: Tensor, tiles: Sequence[Tile]) -> Tensor:
        windows = [image[tile.window] for tile in tiles]
        batch = (windows[0] if len(windows) == 1 else torch.cat(windows)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return self._call(network, batch)

    def _call(self, network: nn.Module, batch: Tensor) -> Tensor:
        outputs: Tensor = network(batch)
        return outputs

    def _write(self, canvas: Tensor, tile: Tile, output: Tensor) -> None:
        scale = self.pool.source.scale
        canvas[tile.target(scale)] = output[tile.inside(scale)]
