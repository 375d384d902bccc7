"""Runs the tiles of one image: batches by (subnet, window size) through extracted subnets, stitched on a canvas."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from wbsr_arch.supernet import Supernet
from wbsr_models.tiling import Tile


class TileRunner:
    """Runs tiles of LR images through the subnets of a supernet.

    Args:
        supernet: the trained supernet; its weights are copied when a subnet is first used.
        batch_pixels: LR pixels of one batch, halos counted; bounds memory.
    """

    def __init__(self, supernet: Supernet, batch_pixels: int) -> None:
        self.supernet, self.batch_pixels = supernet, batch_pixels
        self._networks: dict[int, nn.Module] = {}

    def __call__(self, lr: Tensor, tiles: list[Tile]) -> Tensor:
        """Upscale (C, H, W) to (C, scale H, scale W); each output pixel is written by the tile that covers it."""
        scale = self.supernet.scale
        groups: defaultdict[tuple[int, int, int], list[Tile]] = defaultdict(list)
        for tile in tiles:
            groups[tile.subnet, tile.window_height, tile.window_width].append(tile)
        canvas: Tensor | None = None
        for (subnet, height, width), members in groups.items():
            size = max(1, self.batch_pixels // (height * width))
            for first in range(0, len(members), size):
                batch = members[first : first + size]
                windows = [
                    lr[:, t.window_top : t.window_top + height, t.window_left : t.window_left + width] for t in batch
                ]
                outputs = self._network(subnet)(torch.stack(windows).contiguous(memory_format=torch.channels_last))
                if canvas is None:
                    canvas = outputs.new_empty(outputs.shape[1], lr.shape[1] * scale, lr.shape[2] * scale)
                for tile, output in zip(batch, outputs, strict=True):
                    top, left = tile.top - tile.window_top, tile.left - tile.window_left
                    bottom, right = top + tile.bottom - tile.top, left + tile.right - tile.left
                    canvas[:, tile.top * scale : tile.bottom * scale, tile.left * scale : tile.right * scale] = output[
                        :, top * scale : bottom * scale, left * scale : right * scale
                    ]
        if canvas is None:
            raise ValueError("there is no tile to run: the image is empty")
        return canvas

    def _network(self, index: int) -> nn.Module:
        if index not in self._networks:
            network = self.supernet.extract(self.supernet.subnets[index])
            self._networks[index] = network.to(memory_format=torch.channels_last)
        return self._networks[index]
