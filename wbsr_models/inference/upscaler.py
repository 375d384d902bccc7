"""Gradient projection dynamic inference (paper, section 3.4): split, score, route, merge tiles, run, stitch.

    LR image -> scores (one pooling) -> classes -> subnet per patch -> plan -> batches by (subnet, window) -> canvas

The output is exactly scale x input for every size, images smaller than a patch included.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.devices import seconds_at
from wbsr_models.checkpoints.loading import load_supernet, own_policy
from wbsr_models.inference.costs import CostModel, cost_shares, costs_by_time, costs_by_work
from wbsr_models.inference.finite import is_finite
from wbsr_models.inference.memory import Memory
from wbsr_models.inference.planner import TilePlan, make_planner
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.report import Report
from wbsr_models.inference.restoring import restore_flat
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.tile_runner import TileRunner
from wbsr_models.inference.trimming import WHOLE, Parts
from wbsr_models.routing.choice import Choice, Scores
from wbsr_models.routing.flat import mark_flat, spare_flat
from wbsr_models.routing.policies import make_policy, with_budget
from wbsr_models.routing.policy import Policy
from wbsr_models.routing.profile import Profile

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


class DynamicUpscaler:
    """Upscales images by a family of subnets, each patch by the subnet that its difficulty asks for.

    Args:
        network: the trained supernet, or another family such as `ClassSR`; its weights are copied when a subnet is
            first used.
        profile: what is known of it; a number is a patch size in LR pixels of which nothing else is known.
        policy: how patches are routed: a mode, such as `paper` (Eq. 15), `full` or one subnet's name, or a policy, such
            as `Routing("budget", 0.6)`.
        settings: how the engine computes; None takes the defaults.

    Raises:
        ValueError: an unknown mode or subnet, something that the policy needs is unknown, or a number out of range.
    """

    def __init__(
        self,
        network: DynamicNetwork,
        profile: Profile | int,
        policy: str | Policy = "paper",
        settings: EngineSettings | None = None,
    ) -> None:
        self.network, self.settings = network, settings or EngineSettings()
        self.profile = Profile(profile) if isinstance(profile, int) else profile
        self.profile.check(len(network.subnets))
        if self.settings.plan == "tiles" and self.settings.max_tile < self.patch_size:
            raise ValueError(
                f"max_tile must be at least {self.patch_size}, the side of a patch, got {self.settings.max_tile}"
            )
        self.pool, self.memory = NetworkPool(network, self.settings), Memory(network, self.settings)
        self.runner = TileRunner(self.pool, self.memory)
        self._full_precision: DynamicUpscaler | None = None
        self._plan = make_planner(self.patch_size, self.settings)
        self.flops_shares = tuple(network.share(subnet) for subnet in network.subnets)
        self._set_policy(policy)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        policy: str | Policy | None = None,
        settings: EngineSettings | None = None,
    ) -> DynamicUpscaler:
        """An upscaler from one WBSR checkpoint; EMA weights where it has them, and its own policy for None.

        Raises:
            FileNotFoundError, ValueError: no such file, or no WBSR checkpoint.
        """
        network, metadata = load_supernet(path)
        return cls(network.to(device), metadata.profile, policy or own_policy(network, metadata), settings)

    @property
    def patch_size(self) -> int:
        """Side of the routed patches in LR pixels."""
        return self.profile.patch_size

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return next(self.network.parameters()).device

    def routed(self, policy: str | Policy, profile: Profile | None = None) -> DynamicUpscaler:
        """The same upscaler under another policy, or another profile of the same patch size; the two share networks
        and memory.

        Raises:
            ValueError: as for the constructor.
        """
        other = copy.copy(self)
        other.profile = profile or self.profile
        other._set_policy(policy)
        return other

    def refresh(self) -> None:
        """Take over the network's weights as they are now, after it was trained further."""
        self.pool.refresh()
        self._full_precision = None

    @torch.no_grad()
    def __call__(self, image: Tensor, budget: float | None = None) -> tuple[Tensor, Report]:
        """Upscale one image.

        Args:
            image: (C, H, W) or (1, C, H, W), float RGB, range 0-1, on the network's device.
            budget: mean cost of this image's patches as a share of the full network's, in place of the policy that
                the upscaler was made with; under `eq16` it is C_t.

        Returns:
            The SR image, (..., scale H, scale W), not clamped, and what was done.

        Raises:
            ValueError: another shape, an empty image, or a budget below the cheapest subnet or above 1.
        """
        if budget is not None:
            return self.routed(with_budget(self.policy, budget))(image)
        if image.dim() not in (3, 4) or (image.dim() == 4 and len(image) != 1) or image.numel() == 0:
            raise ValueError(f"image must be (C, H, W) or (1, C, H, W) and not empty, got {tuple(image.shape)}")
        start = seconds_at(image.device)
        lr = image.reshape(image.shape[-3:])
        choice = self.route(lr)
        plan = self.plan(choice, lr)
        canvas = self.runner(lr, plan)
        if self.settings.precision != "fp32" and not is_finite(canvas):
            canvas = self._in_full_precision().runner(lr, plan)
        if self.policy.flat:
            restore_flat(canvas, lr)
        height, width = lr.shape[-2:]
        run = plan.computed_pixels(self.flops_shares, self._parts(choice))
        patch = min(self.patch_size, height) * min(self.patch_size, width)
        run_share = (run + self.router_share * choice.size * patch) / (height * width)
        return canvas.reshape(*image.shape[:-3], *canvas.shape), self.report(choice, run_share, start, plan.kind)

    def report(self, choice: Choice, flops_share_run: float, start: float, plan: str = "tiles") -> Report:
        """What a run did that began at `start`, by the clock of its device."""
        milliseconds = 1000 * (seconds_at(self.device) - start)
        cost, share = (float(np.array([*each, 0.0])[choice].mean()) for each in (self.cost_shares, self.flops_shares))
        return Report(choice, cost, share, float(flops_share_run), milliseconds, self.router_share, plan)

    def route(self, lr: Tensor, patch_size: int | None = None, stride: int | None = None) -> Choice:
        """The subnet number of every patch of an LR image (C, H, W): int64 (rows, cols); -1 is bicubic.

        `patch_size` and `stride` in LR pixels: None is the upscaler's own size, and patches side by side; positions by
        `wbsr_data.patch_positions`.
        """
        return self._choose(self.scores(lr, patch_size, stride))

    def scores(self, lr: Tensor, patch_size: int | None = None, stride: int | None = None) -> Scores:
        """What the patches of an LR image (C, H, W) are routed by, float32 (rows, cols) or (rows, cols, M): see the
        policy. NaN is a flat patch where flat ones are spared."""
        side = patch_size or self.patch_size
        scores = self.policy.scores(self.network, lr, side, stride or side)
        return mark_flat(scores, lr, side, stride or side) if self.policy.flat else scores

    def plan(self, choice: Choice, lr: Tensor) -> TilePlan:
        """What the runner is to do with an LR image (C, H, W), each patch by its chosen subnet at least.

        What plans are to save is time, so they are compared by the subnets' time where the policy counts that, and
        otherwise by their work; both are spent over a subnet's layers as its FLOPs are.
        """
        height, width = lr.shape[-2:]
        room = self.memory.window_pixels(lr, self.patch_size)
        return self._plan(choice, height, width, self._costs, self._parts(choice), room)

    def _in_full_precision(self) -> DynamicUpscaler:
        """The same in fp32, for images that overflow otherwise."""
        if self._full_precision is None:
            settings = replace(self.settings, precision="fp32")
            self._full_precision = DynamicUpscaler(self.network, self.profile, self.policy, settings)
        _logger.warning("An image overflowed in %s: it was upscaled in fp32.", self.settings.precision)
        return self._full_precision

    def _parts(self, choice: Choice) -> list[Parts]:
        """How much of each subnet's cost is spent how far around a tile; networks that no patch needs are not made."""
        used = set(np.unique(choice).tolist())
        return [self.pool.head(m).parts if m in used else WHOLE for m in range(len(self.network.subnets))]

    def _set_policy(self, policy: str | Policy) -> None:
        self.policy = make_policy(policy, {}) if isinstance(policy, str) else policy
        subnets, precision = self.network.subnets, self.settings.precision
        self.cost_shares = cost_shares(self.network, self.policy.cost, self.device, precision)
        self.router_share = self.policy.own_share(self.network)
        self._choose = spare_flat(self.policy.chooser(subnets, self.cost_shares, self.profile))
        if self.policy.cost == "latency":
            self._costs: CostModel = costs_by_time(self.network, self.device, precision)
        else:
            self._costs = costs_by_work(self.network, self.device)
