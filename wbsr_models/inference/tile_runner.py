"""Executes plans of tiles: batches by (subnet, window) through the pool's networks, stitched on one canvas.

The image is laid out channels-last once, and windows are cut from it; each output is written to the canvas without its
halo, and when all are there, their rims fade into their neighbours (`seams.py`), from the top of the image on. On a
CPU each core takes batches of its own. Memory is bounded by the batches that run at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor, nn

from wbsr_base.devices import keep_freed_blocks
from wbsr_base.precision import dtype_of
from wbsr_models.inference import workers
from wbsr_models.inference.memory import Memory
from wbsr_models.inference.planner import TilePlan
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.seams import Rim, fade, rims
from wbsr_models.inference.tiling import Tile
from wbsr_models.inference.trimming import NO_MARGINS, Margins

# LR pixels of a batch: beyond these a device is busy, and larger batches only leave the cache.
_BUSY_CPU, _BUSY_GPU = 2**12, 2**20


@dataclass(frozen=True)
class _Batch:
    """Tiles of one subnet whose windows are of one shape."""

    network: nn.Module
    tiles: Sequence[Tile]

    @property
    def pixels(self) -> int:
        """LR pixels of the windows."""
        return sum(tile.window_area for tile in self.tiles)


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
        """Run the plan of an LR image (C, H, W): (C, scale H, scale W).

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
        threads, making = self.threads(lr), Lock()
        room = self.memory.batch_pixels(lr, sum(tile.rim_area for tile in plan.tiles) / max(1, lr[0].numel()))
        image, batches = self._laid_out(lr), self._batches(lr, plan.tiles, room, threads)
        scale, found = self.pool.source.scale, dict[Tile, list[Rim]]()

        def upscale(batch: _Batch) -> None:
            nonlocal canvas
            outputs = self._run(image, batch)
            with making:
                if canvas is None:
                    canvas = self.memory.new_canvas(lr, outputs.shape[1])
            for tile, output in zip(batch.tiles, outputs, strict=True):
                canvas[tile.target(scale)] = output[tile.inside(scale)]
                found[tile] = list(rims(tile, output, canvas, scale))

        if batches:
            largest = max(batch.pixels for batch in batches)
            workers.run(batches, upscale, max(1, min(threads, len(batches), room // largest)))
        if canvas is None:
            raise ValueError("there is no tile to run: the image is empty")
        in_order = sorted(found, key=lambda tile: (tile.top, tile.left))
        fade(canvas, (rim for tile in in_order for rim in found[tile]))
        return canvas

    def threads(self, lr: Tensor) -> int:
        """How many batches of the tiles of an LR image may run at a time."""
        return 1 if self.pool.settings.capture == "compile" else workers.cores(lr.device)

    @torch.no_grad()
    def outputs(self, lr: Tensor, tiles: Sequence[Tile]) -> Iterator[tuple[Tile, Tensor]]:
        """Each tile of an LR image (C, H, W) with the output of its window, (C, scale h, scale w), in any order."""
        if lr.device.type == "cpu":
            keep_freed_blocks()
        image = self._laid_out(lr)
        for batch in self._batches(lr, tiles, self.memory.batch_pixels(lr)):
            yield from zip(batch.tiles, self._run(image, batch), strict=True)

    def _batches(self, lr: Tensor, tiles: Sequence[Tile], room: int, threads: int = 1) -> list[_Batch]:
        """The tiles as batches of which so many fit into the room of LR pixels, and each thread finds two, the dearest
        first."""
        groups: defaultdict[tuple[int, int, int, Margins], list[Tile]] = defaultdict(list)
        for tile in tiles:
            groups[tile.subnet, tile.window_height, tile.window_width, self._margins(tile)].append(tile)
        busy = self.pool.settings.batch_pixels or (_BUSY_GPU if lr.is_cuda else _BUSY_CPU)
        limit = min(busy, room // threads)
        if threads > 1:
            limit = min(limit, sum(tile.window_area for tile in tiles) // (2 * threads))
        batches = []
        for (subnet, height, width, margins), members in groups.items():
            network = self.pool.network(subnet, margins)
            size = max(1, limit // (height * width))
            batches += [_Batch(network, members[first : first + size]) for first in range(0, len(members), size)]
        source = self.pool.source
        flops = [*(source.flops[subnet] for subnet in source.subnets), 0]  # last: number -1, interpolation
        return sorted(batches, key=lambda batch: -flops[batch.tiles[0].subnet] * batch.pixels)

    def _laid_out(self, lr: Tensor) -> Tensor:
        """(1, C, H, W) as networks read it fastest."""
        return lr[None].to(dtype_of(self.pool.settings.precision)).contiguous(memory_format=torch.channels_last)

    def _margins(self, tile: Tile) -> Margins:
        """What a network has to know of a tile's margins: nothing, where it is not trimmed."""
        return tile.margins if self.pool.head(tile.subnet).stages else NO_MARGINS

    def _run(self, image: Tensor, batch: _Batch) -> Tensor:
        windows = [image[tile.window] for tile in batch.tiles]
        pixels = (windows[0] if len(windows) == 1 else torch.cat(windows)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return self._call(batch.network, pixels)

    def _call(self, network: nn.Module, batch: Tensor) -> Tensor:
        outputs: Tensor = network(batch)
        return outputs
