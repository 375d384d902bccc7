"""Gradient projection dynamic inference (paper, section 3.4): split, score, route, merge tiles, run, stitch.

    LR image -> scores (one pooling) -> classes -> subnet per patch -> tiles -> batches by (subnet, window) -> canvas

The output is exactly scale x input for every size, images smaller than a patch included.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wbsr_arch.subnet import Subnet
from wbsr_arch.supernet import Supernet
from wbsr_data.difficulty import classify
from wbsr_data.gradient import gradient_score, patch_positions
from wbsr_models.checkpoint import load_checkpoint, read_metadata
from wbsr_models.routing import route_by_class
from wbsr_models.tile_runner import TileRunner
from wbsr_models.tiling import plan_tiles


@dataclass(frozen=True)
class Report:
    """What one run did.

    `choice`: (rows, cols) subnet number of each patch, in order of cost; `flops_share`: mean cost of the patches'
    subnets over the full network's, the paper's rule; `flops_share_run`: the same for the tiles that were run, halos
    and joined tiles counted; `milliseconds`: wall-clock, device synchronised.
    """

    choice: NDArray[np.int64]
    flops_share: float
    flops_share_run: float
    milliseconds: float


class DynamicUpscaler:
    """Upscales images by a supernet, each patch by the subnet that its difficulty asks for.

    Args:
        supernet: the trained supernet; its weights are copied when a subnet is first used.
        thresholds: K-1 increasing scores between the difficulty classes; needed for routing `paper`.
        patch_size: side of the routed patches in LR pixels, as in training.
        halo: LR pixels of real surroundings that every tile reads.
        routing: `paper` (Eq. 15), `full`, or one subnet's name, such as `w36d4`.
        max_tile: largest side of a joined tile in LR pixels.
        batch_pixels: LR pixels of one batch, halos counted; bounds memory.

    Raises:
        ValueError: an unknown routing or subnet, no thresholds for `paper`, or a number out of range.
    """

    def __init__(
        self,
        supernet: Supernet,
        thresholds: Sequence[float] | None,
        patch_size: int,
        halo: int = 8,
        routing: str = "paper",
        max_tile: int = 256,
        batch_pixels: int = 2**17,
    ) -> None:
        minima = {"patch_size": (patch_size, 1), "halo": (halo, 0), "max_tile": (max_tile, patch_size)}
        for name, (value, least) in {**minima, "batch_pixels": (batch_pixels, 1)}.items():
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.fixed = _fixed_subnet(supernet, routing)
        if self.fixed is None and thresholds is None:
            raise ValueError(
                "routing `paper` needs the thresholds of the difficulty classes, which training with "
                "HESPairedImageDataset writes into the checkpoint: train with it, or use routing `full`"
            )
        self.supernet = supernet
        self.thresholds = None if thresholds is None else tuple(thresholds)
        self.patch_size, self.halo, self.max_tile = patch_size, halo, max_tile
        self._run = TileRunner(supernet, batch_pixels)

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, device: str | torch.device = "cpu", halo: int = 8, routing: str = "paper"
    ) -> DynamicUpscaler:
        """An upscaler from one WBSR checkpoint; EMA weights where it has them.

        Raises:
            FileNotFoundError, ValueError: no such file, or no WBSR checkpoint.
        """
        content = load_checkpoint(path)
        metadata = read_metadata(content, path)
        if metadata is None:
            raise ValueError(
                f"weights {path} is a stock checkpoint without a `wbsr` entry: train it by WBSRModel first"
            )
        supernet = Supernet(**{key: value for key, value in metadata.network.items() if key != "type"})
        supernet.load_state_dict(content["params_ema" if "params_ema" in content else "params"], strict=True)
        return cls(supernet.to(device).eval(), metadata.thresholds, metadata.patch_size, halo, routing)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> tuple[Tensor, Report]:
        """Upscale one image.

        Args:
            image: (C, H, W) or (1, C, H, W), float RGB, range 0-1, on the supernet's device.

        Returns:
            The SR image, (..., scale H, scale W), not clamped, and what was done.

        Raises:
            ValueError: another shape or an empty image.
        """
        if image.dim() not in (3, 4) or (image.dim() == 4 and len(image) != 1) or image.numel() == 0:
            raise ValueError(f"image must be (C, H, W) or (1, C, H, W) and not empty, got {tuple(image.shape)}")
        _synchronise(image.device)
        start = time.perf_counter()
        lr = image.reshape(image.shape[-3:])
        choice = self.route(lr)
        flops = list(self.supernet.flops.values())
        height, width = lr.shape[-2:]
        tiles = plan_tiles(choice, height, width, self.patch_size, self.halo, flops, self.max_tile)
        canvas = self._run(lr, tiles)
        _synchronise(image.device)
        milliseconds = 1000 * (time.perf_counter() - start)
        share = np.array(flops) / flops[self.supernet.subnets.index(self.supernet.full)]
        run = sum(share[tile.subnet] * tile.window_area for tile in tiles) / (height * width)
        report = Report(choice, float(share[choice].mean()), float(run), milliseconds)
        return canvas.reshape(*image.shape[:-3], *canvas.shape), report

    def route(self, lr: Tensor) -> NDArray[np.int64]:
        """The subnet number of every patch of an LR image (C, H, W): int64 (rows, cols)."""
        if self.fixed is not None:
            rows, cols = (len(patch_positions(side, self.patch_size, self.patch_size)) for side in lr.shape[-2:])
            return np.full((rows, cols), self.fixed, dtype=np.int64)
        classes = classify(gradient_score(lr, self.patch_size), self.thresholds or ())
        num_classes = len(self.thresholds or ()) + 1
        return route_by_class(classes.cpu().numpy(), num_classes, len(self.supernet.subnets))


def _fixed_subnet(supernet: Supernet, routing: str) -> int | None:
    """The number of the one subnet that `routing` names; None for routing by difficulty."""
    if routing == "paper":
        return None
    if routing == "full":
        return supernet.subnets.index(supernet.full)
    names = [str(subnet) for subnet in supernet.subnets]
    try:
        return names.index(str(Subnet.parse(routing)))
    except ValueError as error:
        raise ValueError(f"routing must be one of paper, full, {', '.join(names)}, got {routing!r}") from error


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
