"""Runs the tiles of one image: batches by (subnet, window) through extracted networks, stitched on one canvas.

The image is laid out channels-last once, and windows are cut from it; each output is written to the canvas without its
halo, so every pixel is written once. Networks are trimmed to what the tile needs, but for compiled ones, of which there
would be one for every kind of window, and self-ensembles. Memory is bounded by the batch: what a network needs per
pixel is counted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from wbsr_arch.cost import REFERENCE_PATCH
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.bicubic import interpolate
from wbsr_models.edge_routing import BICUBIC
from wbsr_models.memory import MEGABYTE, bytes_per_pixel, default_megabytes, keep_freed_blocks
from wbsr_models.precision import Precision, dtype_of, ready
from wbsr_models.tiling import Tile
from wbsr_models.trimming import NO_MARGINS, Head, Margins, find_head, same_head, trim

CanvasDevice = Literal["auto", "cpu", "same"]

# LR pixels of a batch: beyond these a device is busy, and larger batches only leave the cache.
_BUSY_CPU, _BUSY_GPU = 2**12, 2**20


def bicubic(lr: Tensor, scale: int) -> Tensor:
    """(N, C, H, W) -> (N, C, scale H, scale W), not clamped; as MATLAB interpolates, but for the border."""
    return interpolate(lr, scale * lr.shape[-2], scale * lr.shape[-1])


class _Bicubic(nn.Module):
    """The network of the subnet number that stands for interpolation."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """`bicubic`."""
        return bicubic(x, self.scale)


class TileRunner:
    """Upscales an image tile by tile by the subnets of a supernet, whose weights are copied when first used.

    Args:
        supernet: on the device that is to compute.
        memory_mb: bounds canvas and batch together, where the canvas lies on the computing device; None: half of what
            is free there, on a CPU at most 384 beside the canvas, which has no other place.
        precision: of the networks; the canvas has the image's own.
        compile: whether to run the networks through `torch.compile`; pays for many images.
        canvas_device: where the result lies: `same` as the image, `cpu`, or `auto`: the CPU if the canvas would take
            more than half of the memory.
        batch_pixels: LR pixels of one batch, halos counted; None: what keeps the device busy.
        self_ensemble: whether each network's output is the mean over eight flips and turns.

    Raises:
        ValueError: an unknown precision or canvas device, or a number out of range.
    """

    def __init__(
        self,
        supernet: DynamicNetwork,
        memory_mb: float | None = None,
        precision: Precision = "float32",
        compile: bool = False,
        canvas_device: CanvasDevice = "auto",
        batch_pixels: int | None = None,
        self_ensemble: bool = False,
    ) -> None:
        dtype_of(precision)
        if memory_mb is not None and not (memory_mb > 0 and math.isfinite(memory_mb)):
            raise ValueError(f"memory_mb must be above 0, got {memory_mb}")
        if canvas_device not in ("auto", "cpu", "same"):
            raise ValueError(f"canvas_device must be auto, cpu or same, got {canvas_device!r}")
        if batch_pixels is not None and batch_pixels < 1:
            raise ValueError(f"batch_pixels must be at least 1, got {batch_pixels}")
        self.supernet = supernet
        self.precision, self.compile, self.self_ensemble = precision, compile, self_ensemble
        self.memory_mb, self.canvas_device, self.batch_pixels = memory_mb, canvas_device, batch_pixels
        self._networks: dict[tuple[int, Margins], nn.Module] = {}
        self._heads: dict[int, Head] = {}
        self._bytes_per_pixel: float | None = None

    @torch.no_grad()
    def __call__(self, lr: Tensor, tiles: Sequence[Tile], interpolate: bool = False) -> Tensor:
        """Run `tiles` of an LR image (C, H, W): (C, scale H, scale W), each tile's pixels written once.

        Args:
            lr: the image.
            tiles: what to run; they cover the image, unless `interpolate`.
            interpolate: whether what no tile covers is interpolated by `bicubic`.

        Raises:
            ValueError: there is no tile, and no interpolation.
        """
        canvas: Tensor | None = None
        if interpolate:
            canvas = bicubic((lr.cpu() if self._on_cpu(lr) else lr)[None], self.supernet.scale)[0]
        for tile, output in self.outputs(lr, tiles):
            if canvas is None:
                canvas = self.new_canvas(lr, output.shape[0])
            self._write(canvas, tile, output)
        if canvas is None:
            raise ValueError("there is no tile to run: the image is empty")
        return canvas

    @torch.no_grad()
    def outputs(self, lr: Tensor, tiles: Sequence[Tile]) -> Iterator[tuple[Tile, Tensor]]:
        """Each tile of an LR image (C, H, W) with the output of its window, (C, scale h, scale w), in any order."""
        if lr.device.type == "cpu":
            keep_freed_blocks()
        image = lr[None].to(dtype_of(self.precision)).contiguous(memory_format=torch.channels_last)
        groups: defaultdict[tuple[int, int, int, Margins], list[Tile]] = defaultdict(list)
        for tile in tiles:
            groups[tile.subnet, tile.window_height, tile.window_width, self._margins(tile)].append(tile)
        limit = self.batch_pixels or (_BUSY_GPU if lr.is_cuda else _BUSY_CPU)
        limit = min(limit, self._affordable_pixels(lr))
        for (subnet, height, width, margins), members in groups.items():
            network = self.network(subnet, margins)
            size = max(1, limit // (height * width))
            for first in range(0, len(members), size):
                batch = members[first : first + size]
                yield from zip(batch, self._run(network, image, batch), strict=True)

    def largest_window(self, lr: Tensor, halo: int, patch_size: int) -> int:
        """LR pixels of the largest window that fits into the memory.

        Raises:
            ValueError: not even one patch with its halo fits.
        """
        affordable = self._affordable_pixels(lr)
        one_patch = math.prod(min(side, patch_size + 2 * halo) for side in lr.shape[1:])
        if affordable < one_patch:
            least = self._beside(lr) + one_patch * self._need(lr)
            raise ValueError(
                f"memory_mb must be at least {math.ceil(least / MEGABYTE)} for an LR image of {lr.shape[1]} x "
                f"{lr.shape[2]}, patches of {patch_size} and a halo of {halo}, got {self._limit(lr) / MEGABYTE:.0f}"
            )
        return affordable

    def network(self, index: int, margins: Margins = NO_MARGINS) -> nn.Module:
        """The network of subnet number `index`, ready to run windows with these margins around their tile."""
        if (index, margins) not in self._networks:
            network: nn.Module
            if index == BICUBIC:
                network, self._heads[index] = _Bicubic(self.supernet.scale), Head()
            elif margins == NO_MARGINS:
                network = self.supernet.extract(self.supernet.subnets[index])
                self._heads[index] = self._find_head(index, network)
                network = ready(network, self.precision, self.compile, self.self_ensemble)
            else:
                network = trim(self.network(index), self.head(index).stages, margins)
            self._networks[index, margins] = network
        return self._networks[index, margins]

    def _find_head(self, index: int, network: nn.Module) -> Head:
        if self.compile or self.self_ensemble:
            return Head()
        flops = self.supernet.flops[self.supernet.subnets[index]] / REFERENCE_PATCH**2
        known = (same_head(head, network, flops) for number, head in self._heads.items() if number != BICUBIC)
        return next(filter(None, known), None) or find_head(network, self.supernet.in_channels)

    def head(self, index: int) -> Head:
        """What of the network of subnet number `index` is trimmed."""
        self.network(index)
        return self._heads[index]

    def _margins(self, tile: Tile) -> Margins:
        """What a network has to know of a tile's margins: nothing, where it is not trimmed."""
        return tile.margins if self.head(tile.subnet).stages else NO_MARGINS

    def _run(self, network: nn.Module, image: Tensor, tiles: Sequence[Tile]) -> Tensor:
        windows = [
            image[
                :,
                :,
                tile.window_top : tile.window_top + tile.window_height,
                tile.window_left : tile.window_left + tile.window_width,
            ]
            for tile in tiles
        ]
        batch = (windows[0] if len(windows) == 1 else torch.cat(windows)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            outputs: Tensor = network(batch)
        return outputs

    def _write(self, canvas: Tensor, tile: Tile, output: Tensor) -> None:
        scale = self.supernet.scale
        top, left = tile.top - tile.window_top, tile.left - tile.window_left
        bottom, right = top + tile.bottom - tile.top, left + tile.right - tile.left
        canvas[:, tile.top * scale : tile.bottom * scale, tile.left * scale : tile.right * scale] = output[
            :, top * scale : bottom * scale, left * scale : right * scale
        ]

    def new_canvas(self, lr: Tensor, channels: int) -> Tensor:
        """Where the result of an LR image (C, H, W) goes, of this many channels; its values are undefined."""
        height, width = (side * self.supernet.scale for side in lr.shape[1:])
        return torch.empty(channels, height, width, dtype=lr.dtype, device="cpu" if self._on_cpu(lr) else lr.device)

    def _affordable_pixels(self, lr: Tensor) -> int:
        """LR pixels of the largest batch that fits beside the canvas."""
        return int(max(0.0, self._limit(lr) - self._beside(lr)) / self._need(lr))

    def _beside(self, lr: Tensor) -> int:
        """Bytes of the canvas, where it lies on the computing device."""
        return 0 if self._on_cpu(lr) and lr.is_cuda else self._canvas_bytes(lr)

    def _need(self, lr: Tensor) -> float:
        """Bytes per LR pixel of a batch, under the full network."""
        if self._bytes_per_pixel is None:
            self._bytes_per_pixel = bytes_per_pixel(self.supernet.extract(self.supernet.full), lr.shape[0])
        return self._bytes_per_pixel * dtype_of(self.precision).itemsize / torch.float32.itemsize

    def _limit(self, lr: Tensor) -> float:
        if self.memory_mb is not None:
            return self.memory_mb * MEGABYTE
        return default_megabytes(lr.device) * MEGABYTE + (0 if lr.is_cuda else self._canvas_bytes(lr))

    def _canvas_bytes(self, lr: Tensor) -> int:
        return lr.numel() * self.supernet.scale**2 * lr.element_size()

    def _on_cpu(self, lr: Tensor) -> bool:
        if self.canvas_device == "auto":
            return not lr.is_cuda or self._canvas_bytes(lr) > self._limit(lr) / 2
        return self.canvas_device == "cpu" or not lr.is_cuda
