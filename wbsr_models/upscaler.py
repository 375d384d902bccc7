"""Gradient projection dynamic inference (paper, section 3.4): split, score, route, merge tiles, run, stitch.

    LR image -> scores (one pooling) -> classes -> subnet per patch -> tiles -> batches by (subnet, window) -> canvas

The output is exactly scale x input for every size, images smaller than a patch included.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wbsr.devices import seconds_at
from wbsr_arch.cost import REFERENCE_PATCH
from wbsr_arch.supernet import Supernet
from wbsr_data.edge import edge_score
from wbsr_data.gradient import gradient_score, patch_positions
from wbsr_models.checkpoint import Metadata, load_checkpoint, read_metadata
from wbsr_models.edge_routing import BICUBIC, EdgeTable
from wbsr_models.latency import measure
from wbsr_models.policy import Cost, Knowledge, Policy, Routing, Scores, make_policy
from wbsr_models.precision import Precision
from wbsr_models.routing import Choice
from wbsr_models.tile_runner import CanvasDevice, TileRunner
from wbsr_models.tiling import DEFAULT_HALO, Tile, plan_tiles
from wbsr_models.trimming import WHOLE

# What a device could have computed while it starts an operator: each CPU core 0.1 ms, at 100 GFLOP/s.
CALL_FLOPS_CORE, CALL_FLOPS_GPU = 1e7, 2.5e7

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


@dataclass(frozen=True)
class Report:
    """What one run did.

    `choice`: (rows, cols) subnet number of each patch, in order of FLOPs, -1 for bicubic interpolation; `cost_share`:
    mean cost of the patches' subnets over the full network's, as the routing counts cost, so what a budget bounds;
    `flops_share`: the same in FLOPs, the paper's rule; `flops_share_run`: FLOPs computed, with halos as trimmed and
    joined tiles; `milliseconds`: wall-clock, device synchronised.
    """

    choice: Choice
    cost_share: float
    flops_share: float
    flops_share_run: float
    milliseconds: float


class DynamicUpscaler:
    """Upscales images by a supernet, each patch by the subnet that its difficulty asks for.

    Args:
        supernet: the trained supernet; its weights are copied when a subnet is first used.
        thresholds: K-1 increasing scores between the difficulty classes; needed for routing by difficulty.
        patch_size: side of the routed patches in LR pixels, as in training.
        halo: LR pixels of real surroundings that every tile reads.
        routing: a mode, such as `paper` (Eq. 15), `full` or one subnet's name, or a `Routing`, such as
            `Routing("budget", 0.6)`.
        max_tile: largest side of a joined tile in LR pixels.
        batch_pixels: LR pixels of one batch, halos counted; None: what keeps the device busy.
        error_table: K rows of M squared errors, which `wbsr calibrate` measures, for routing `budget`.
        class_shares: K shares of the classes in calibration, for a budget over a set.
        memory_mb: bounds batch and canvas together; None: chosen from the device.
        precision: `float32`, `bf16` or `fp16`, of the networks.
        compile: whether to run the networks through `torch.compile`.
        canvas_device: where the result lies: `same` as the image, `cpu`, or `auto`: the CPU if it is large.
        self_ensemble: whether to take the mean over eight flips and turns, at eight times the cost.
        edge_table: the PSNR to expect by edge score, which `wbsr calibrate --edge-table` measures, for routing `arm`.

    Raises:
        ValueError: an unknown routing or subnet, something that the routing needs is unknown, or a number out of range.
    """

    def __init__(
        self,
        supernet: Supernet,
        thresholds: Sequence[float] | None,
        patch_size: int,
        halo: int = DEFAULT_HALO,
        routing: str | Routing = "paper",
        max_tile: int = 256,
        batch_pixels: int | None = None,
        error_table: Sequence[Sequence[float]] | None = None,
        class_shares: Sequence[float] | None = None,
        memory_mb: float | None = None,
        precision: Precision = "float32",
        compile: bool = False,
        canvas_device: CanvasDevice = "auto",
        self_ensemble: bool = False,
        edge_table: EdgeTable | None = None,
    ) -> None:
        minima = {"patch_size": (patch_size, 1), "halo": (halo, 0), "max_tile": (max_tile, patch_size)}
        for name, (value, least) in minima.items():
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.supernet = supernet
        self.known = Knowledge(
            None if thresholds is None else tuple(thresholds),
            None if error_table is None else tuple(map(tuple, error_table)),
            None if class_shares is None else tuple(class_shares),
            edge_table,
        )
        self.known.check(len(supernet.subnets))
        self.patch_size, self.halo, self.max_tile = patch_size, halo, max_tile
        on_gpu = next(supernet.parameters()).is_cuda
        call_flops = CALL_FLOPS_GPU if on_gpu else CALL_FLOPS_CORE * torch.get_num_threads()
        flops_by_pixel = [flops / REFERENCE_PATCH**2 for flops in supernet.flops.values()]
        started = zip(supernet.calls.values(), flops_by_pixel, strict=True)
        self._call_pixels = [call_flops * calls / flops for calls, flops in started]
        self._run = TileRunner(supernet, memory_mb, precision, compile, canvas_device, batch_pixels, self_ensemble)
        self._set_routing(routing if isinstance(routing, Routing) else Routing(routing))

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        halo: int = DEFAULT_HALO,
        routing: str | Routing = "paper",
    ) -> DynamicUpscaler:
        """An upscaler from one WBSR checkpoint; EMA weights where it has them.

        Raises:
            FileNotFoundError, ValueError: no such file, or no WBSR checkpoint.
        """
        supernet, metadata = load_supernet(path)
        return cls(
            supernet.to(device),
            metadata.thresholds,
            metadata.patch_size,
            halo,
            routing,
            error_table=metadata.error_table,
            class_shares=metadata.class_shares,
            edge_table=metadata.edge_table,
        )

    def routed(self, routing: str | Routing) -> DynamicUpscaler:
        """The same upscaler under another routing; the two share networks and memory.

        Raises:
            ValueError: as for the constructor.
        """
        other = copy.copy(self)
        other._set_routing(routing if isinstance(routing, Routing) else Routing(routing))
        return other

    @torch.no_grad()
    def __call__(self, image: Tensor, budget: float | None = None) -> tuple[Tensor, Report]:
        """Upscale one image.

        Args:
            image: (C, H, W) or (1, C, H, W), float RGB, range 0-1, on the supernet's device.
            budget: mean cost of this image's patches as a share of the full network's, in place of the routing that
                the upscaler was made with; under `eq16` it is C_t.

        Returns:
            The SR image, (..., scale H, scale W), not clamped, and what was done.

        Raises:
            ValueError: another shape, an empty image, or a budget below the cheapest subnet or above 1.
        """
        if budget is not None:
            mode = "eq16" if self.routing.mode == "eq16" else "budget"
            return self.routed(replace(self.routing, mode=mode, budget=budget, eta=None))(image)
        if image.dim() not in (3, 4) or (image.dim() == 4 and len(image) != 1) or image.numel() == 0:
            raise ValueError(f"image must be (C, H, W) or (1, C, H, W) and not empty, got {tuple(image.shape)}")
        start = seconds_at(image.device)
        lr = image.reshape(image.shape[-3:])
        choice = self.route(lr)
        flops = list(self.supernet.flops.values())
        height, width = lr.shape[-2:]
        tiles = self.plan(choice, lr)
        canvas = self._run(lr, tiles, interpolate=bool((choice == BICUBIC).any()))
        milliseconds = 1000 * (seconds_at(image.device) - start)
        share = np.array([*flops, 0]) / flops[self.supernet.subnets.index(self.supernet.full)]  # last: number -1
        run = sum(share[tile.subnet] * tile.computed_area(self._run.head(tile.subnet).parts) for tile in tiles)
        cost = float(np.array([*self.costs, 0])[choice].mean())
        report = Report(choice, cost, float(share[choice].mean()), float(run) / (height * width), milliseconds)
        return canvas.reshape(*image.shape[:-3], *canvas.shape), report

    def route(self, lr: Tensor) -> Choice:
        """The subnet number of every patch of an LR image (C, H, W): int64 (rows, cols); -1 is bicubic."""
        if self.routing.fixed:
            rows, cols = (len(patch_positions(side, self.patch_size, self.patch_size)) for side in lr.shape[-2:])
            return self._policy(np.zeros((rows, cols), np.float32))
        return self._policy(self.scores(lr))

    def scores(self, lr: Tensor) -> Scores:
        """What the patches of an LR image (C, H, W) are routed by: float32 (rows, cols), RMS gradient magnitudes, or
        edge scores under mode `arm`."""
        score = edge_score if self.routing.by_edge else gradient_score
        return np.asarray(score(lr, self.patch_size).cpu().numpy())

    def plan(self, choice: Choice, lr: Tensor) -> list[Tile]:
        """The tiles in which an LR image (C, H, W) is run, each patch by its chosen subnet at least; none for bicubic.

        A subnet's cost, if it is time, is spent over its layers as its FLOPs are.
        """
        max_tile = min(self.max_tile, self._run.largest_tile(lr, self.halo, self.patch_size))
        needed = set(np.unique(choice))
        parts = [self._run.head(m).parts if m in needed else WHOLE for m in range(len(self.costs))]
        height, width = lr.shape[-2:]
        return plan_tiles(
            choice, height, width, self.patch_size, self.halo, self.costs, max_tile, self._call_pixels, parts
        )

    def _set_routing(self, routing: Routing) -> None:
        self.routing, self.costs = routing, subnet_costs(self.supernet, routing.cost, self._run.precision)
        self._policy: Policy = make_policy(routing, self.supernet.subnets, self.costs, self.known)
        if routing.mode == "budget" and self.known.errors is None:
            _warn_once(
                "The weights have no error table, so the budget is spent by Eq. 16; `wbsr calibrate` measures the "
                "table, and the same budget then gives more quality."
            )


def load_supernet(path: str | Path) -> tuple[Supernet, Metadata]:
    """The supernet of a WBSR checkpoint on the CPU, for evaluation, with its EMA weights where it has them.

    Raises:
        FileNotFoundError, ValueError: no such file, or no WBSR checkpoint.
    """
    content = load_checkpoint(path)
    metadata = read_metadata(content, path)
    if metadata is None:
        raise ValueError(f"weights {path} is a stock checkpoint without a `wbsr` entry: train it by WBSRModel first")
    try:
        supernet = Supernet(**{key: value for key, value in metadata.network.items() if key != "type"})
    except (ValueError, TypeError) as error:
        raise ValueError(f"weights {path}: wbsr:network describes no supernet that can be built: {error}") from error
    weights = content.get("params_ema", content.get("params"))
    if not isinstance(weights, Mapping):
        raise ValueError(f"weights {path} hold no `params`: they are damaged, or another kind of file")
    try:
        supernet.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"weights {path} don't fit the network that their `wbsr` entry describes: {first}") from error
    return supernet.eval(), metadata


def subnet_costs(supernet: Supernet, cost: Cost = "flops", precision: Precision = "float32") -> tuple[float, ...]:
    """C_m of each subnet as a share of the full network's: of its FLOPs, or of its time on the supernet's device."""
    if cost == "flops":
        return tuple(supernet.share(subnet) for subnet in supernet.subnets)
    times = measure(supernet, next(supernet.parameters()).device, precision)
    return tuple(time / times[supernet.subnets.index(supernet.full)] for time in times)


@functools.cache
def _warn_once(message: str) -> None:
    _logger.warning(message)
