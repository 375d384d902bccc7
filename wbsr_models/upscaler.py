"""Gradient projection dynamic inference (paper, section 3.4): split, score, route, merge tiles, run, stitch.

    LR image -> scores (one pooling) -> classes -> subnet per patch -> tiles -> batches by (subnet, window) -> canvas

The output is exactly scale x input for every size, images smaller than a patch included.
"""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wbsr_arch.cost import REFERENCE_PATCH
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.devices import seconds_at
from wbsr_data.edge import edge_score
from wbsr_data.gradient import gradient_score, patch_positions
from wbsr_models.edge_routing import BICUBIC, EdgeTable
from wbsr_models.latency import measure
from wbsr_models.loading import default_mode, load_supernet
from wbsr_models.policy import Cost, Knowledge, Policy, Routing, Scores, make_policy
from wbsr_models.precision import Precision
from wbsr_models.router import router_scores
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
    `flops_share`: the same in FLOPs, the paper's rule; `flops_share_run`: FLOPs computed, with halos as trimmed, joined
    tiles and the router; `milliseconds`: wall-clock, device synchronised; `router_share`: FLOPs of the network that
    routes a patch over those of the full network on it, which the paper's rule leaves out; 0 where none is run.
    """

    choice: Choice
    cost_share: float
    flops_share: float
    flops_share_run: float
    milliseconds: float
    router_share: float = 0.0


class DynamicUpscaler:
    """Upscales images by a supernet, each patch by the subnet that its difficulty asks for.

    Args:
        supernet: the trained supernet, or another network of subnets such as `ClassSR`; its weights are copied when a
            subnet is first used.
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
        supernet: DynamicNetwork,
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
            supernet.router is not None,
        )
        self.known.check(len(supernet.subnets))
        self.patch_size, self.halo, self.max_tile = patch_size, halo, max_tile
        on_gpu = next(supernet.parameters()).is_cuda
        call_flops = CALL_FLOPS_GPU if on_gpu else CALL_FLOPS_CORE * torch.get_num_threads()
        self._work = [work / REFERENCE_PATCH**2 for work in supernet.work.values()]
        started = zip(supernet.calls.values(), self._work, strict=True)
        self._call_pixels = [call_flops * calls / work for calls, work in started]
        self.flops_shares = tuple(supernet.share(subnet) for subnet in supernet.subnets)
        self.runner = TileRunner(supernet, memory_mb, precision, compile, canvas_device, batch_pixels, self_ensemble)
        self._set_routing(routing if isinstance(routing, Routing) else Routing(routing))

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        halo: int = DEFAULT_HALO,
        routing: str | Routing | None = None,
    ) -> DynamicUpscaler:
        """An upscaler from one WBSR checkpoint; EMA weights where it has them, and its own routing for None.

        Raises:
            FileNotFoundError, ValueError: no such file, or no WBSR checkpoint.
        """
        supernet, metadata = load_supernet(path)
        return cls(
            supernet.to(device),
            metadata.thresholds,
            metadata.patch_size,
            halo,
            routing or default_mode(supernet, metadata),
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
        height, width = lr.shape[-2:]
        tiles = self.plan(choice, lr)
        canvas = self.runner(lr, tiles, interpolate=bool((choice == BICUBIC).any()))
        shares = self.flops_shares
        run = sum(shares[tile.subnet] * tile.computed_area(self.runner.head(tile.subnet).parts) for tile in tiles)
        patch = min(self.patch_size, height) * min(self.patch_size, width)
        report = self.report(choice, (run + self.router_share * choice.size * patch) / (height * width), start)
        return canvas.reshape(*image.shape[:-3], *canvas.shape), report

    def report(self, choice: Choice, flops_share_run: float, start: float) -> Report:
        """What a run did that began at `start`, by the clock of its device."""
        milliseconds = 1000 * (seconds_at(next(self.supernet.parameters()).device) - start)
        cost, share = (float(np.array([*each, 0.0])[choice].mean()) for each in (self.costs, self.flops_shares))
        return Report(choice, cost, share, float(flops_share_run), milliseconds, self.router_share)

    def route(self, lr: Tensor, patch_size: int | None = None, stride: int | None = None) -> Choice:
        """The subnet number of every patch of an LR image (C, H, W): int64 (rows, cols); -1 is bicubic.

        `patch_size` and `stride` in LR pixels: None is the upscaler's own size, and patches side by side; positions by
        `wbsr_data.patch_positions`.
        """
        side = patch_size or self.patch_size
        return self._policy(self.scores(lr, side, stride or side))

    def scores(self, lr: Tensor, patch_size: int | None = None, stride: int | None = None) -> Scores:
        """What the patches of an LR image (C, H, W) are routed by: float32 (rows, cols), RMS gradient magnitudes, or
        edge scores under mode `arm`; under `classsr` (rows, cols, M), what the classifier says; otherwise zeros."""
        side = patch_size or self.patch_size
        if self.routing.mode == "classsr" and self.supernet.router is not None:
            return router_scores(self.supernet.router, lr, side, stride or side)
        if self.routing.fixed:
            rows, cols = (len(patch_positions(length, side, stride or side)) for length in lr.shape[-2:])
            return np.zeros((rows, cols), np.float32)
        score = edge_score if self.routing.by_edge else gradient_score
        return np.asarray(score(lr, side, stride).cpu().numpy())

    def plan(self, choice: Choice, lr: Tensor) -> list[Tile]:
        """The tiles in which an LR image (C, H, W) is run, each patch by its chosen subnet at least; none for bicubic.

        What the tiles are to save is time, so they are planned by the subnets' time where the routing counts that, and
        otherwise by their work; both are spent over a subnet's layers as its FLOPs are.
        """
        max_pixels = self.runner.largest_window(lr, self.halo, self.patch_size)
        needed = set(np.unique(choice))
        parts = [self.runner.head(m).parts if m in needed else WHOLE for m in range(len(self.costs))]
        height, width = lr.shape[-2:]
        costs = self.costs if self.routing.cost == "latency" else self._work
        layout = height, width, self.patch_size, self.halo
        return plan_tiles(choice, *layout, costs, self.max_tile, self._call_pixels, parts, max_pixels)

    def _set_routing(self, routing: Routing) -> None:
        self.routing, self.costs = routing, subnet_costs(self.supernet, routing.cost, self.runner.precision)
        self.router_share = 0.0
        if routing.mode == "classsr":
            self.router_share = self.supernet.router_flops / self.supernet.flops[self.supernet.full]
        self._policy: Policy = make_policy(routing, self.supernet.subnets, self.costs, self.known)
        if routing.mode == "budget" and self.known.errors is None:
            _warn_once(
                "The weights have no error table, so the budget is spent by Eq. 16; `wbsr calibrate` measures the "
                "table, and the same budget then gives more quality."
            )


def subnet_costs(supernet: DynamicNetwork, cost: Cost = "flops", precision: Precision = "float32") -> tuple[float, ...]:
    """C_m of each subnet as a share of the full network's: of its FLOPs, or of its time on the supernet's device."""
    if cost == "flops":
        return tuple(supernet.share(subnet) for subnet in supernet.subnets)
    times = measure(supernet, next(supernet.parameters()).device, precision)
    return tuple(time / times[supernet.subnets.index(supernet.full)] for time in times)


@functools.cache
def _warn_once(message: str) -> None:
    _logger.warning(message)
