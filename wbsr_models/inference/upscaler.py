"""Gradient projection dynamic inference (paper, section 3.4): split, score, route, merge tiles, run, stitch.

    LR image -> scores (one pooling) -> classes -> subnet per patch -> plan -> batches by (subnet, window) -> canvas

Scores come to the host, where routing and planning are arithmetic on a few hundred numbers, and the plan goes back: so
an image on a GPU waits once for the device before its networks start, whatever the policy. Where the image before was
of its size and ran dense by the full network, it does not wait either: it runs so too, and scores are read meanwhile.
The output is exactly scale x input for every size, images smaller than a patch included.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.devices import seconds_at
from wbsr_models.checkpoints.loading import load_supernet, own_policy
from wbsr_models.inference.capture import Captures
from wbsr_models.inference.costs import CostModel, costs_by_work
from wbsr_models.inference.finite import is_finite
from wbsr_models.inference.in_time import largest_share
from wbsr_models.inference.latency import measured_costs
from wbsr_models.inference.memory import Memory
from wbsr_models.inference.planner import Request, TilePlan
from wbsr_models.inference.planning import Plan, Planner
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.report import Report
from wbsr_models.inference.restoring import restore_flat
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.tile_runner import TileRunner
from wbsr_models.inference.trimming import WHOLE, Parts
from wbsr_models.inference.window_planner import WindowPlan
from wbsr_models.inference.window_runner import WindowRunner
from wbsr_models.routing.choice import Choice, Scores
from wbsr_models.routing.flat import spare_flat
from wbsr_models.routing.look import Look
from wbsr_models.routing.policies import make_policy, with_budget
from wbsr_models.routing.policy import Choose, Policy
from wbsr_models.routing.profile import Profile

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs

_SHARES_AT = {"cpu": 64**2, "cuda": 256**2}  # LR pixels of the dense run by which subnets' times are compared


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
        if self.settings.plan in ("auto", "tiles") and self.settings.max_tile < self.patch_size:
            raise ValueError(
                f"max_tile must be at least {self.patch_size}, the side of a patch, got {self.settings.max_tile}"
            )
        self.pool, self.memory = NetworkPool(network, self.settings), Memory(network, self.settings)
        self.runner = TileRunner(self.pool, self.memory)
        self._full_precision: DynamicUpscaler | None = None
        captured = math.inf if self.settings.capture == "graphs" else 0.0
        self.windows = WindowRunner(self.pool, self.memory, Captures([captured] * len(network.subnets)))
        self.planner = Planner(self.patch_size, self.settings, network.scale)
        self._again: dict[torch.Size, Plan] = {}  # the plan with which an image of this size begins
        self._known_costs: dict[bool, CostModel] = {}  # by whether they were measured
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
        if other.patch_size != self.patch_size:
            raise ValueError(f"the profile's patch_size must be {self.patch_size}, got {other.patch_size}")
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
            ValueError: another shape, an empty image, a budget below the cheapest subnet or above 1, or pixels that are
                no finite numbers, where patches are scored.
            TypeError: whole or complex numbers, or a budget that is no number.
        """
        if budget is not None:
            if not isinstance(budget, (int, float)):
                raise TypeError(f"budget must be one number, got {budget!r}")
            return self.routed(with_budget(self.policy.for_one_image(), budget))(image)
        self._check(image)
        start = time.perf_counter()
        lr = image.reshape(image.shape[-3:])
        look = Look(self.policy, self.network, lr, self.patch_size, self.patch_size)
        begun = self._again.get(lr.shape)
        canvas = None if begun is None else self._run(lr, begun)
        choice, wanted, why = self._routed(lr, look.scores)
        self._again = {lr.shape: wanted} if self._may_begin_with(wanted) else {}
        plan = begun or wanted
        if canvas is None:
            canvas = self._run(lr, plan)
        if self.settings.precision != "fp32" and not is_finite(canvas):
            canvas = self._in_full_precision()._run(lr, plan)
        if look.flat is not None:
            restore_flat(canvas, lr, look.flat)
        height, width = lr.shape[-2:]
        run = plan.computed_pixels(self.flops_shares, lambda: self._parts(choice))
        patch = min(self.patch_size, height) * min(self.patch_size, width)
        run_share = (run + self.router_share * choice.size * patch) / (height * width)
        report = self.report(choice, run_share, start, plan.kind, why)
        return canvas.reshape(*image.shape[:-3], *canvas.shape), report

    def _check(self, image: Tensor) -> None:
        channels, shape = self.network.in_channels, tuple(image.shape)
        if shape[:-2] not in ((channels,), (1, channels)) or image.numel() == 0:
            raise ValueError(f"image must be ({channels}, H, W) or (1, {channels}, H, W) and not empty, got {shape}")
        if not image.is_floating_point():
            raise TypeError(f"image must be floating point of range 0-1, got {image.dtype}: divide it by its maximum")

    def report(
        self,
        choice: Choice,
        flops_share_run: float,
        start: float,
        plan: str = "tiles",
        why: Mapping[str, float] | None = None,
    ) -> Report:
        """What a run did that began at `start`, by `time.perf_counter`; the device is waited for."""
        milliseconds = 1000 * (seconds_at(self.device) - start)
        cost, share = (float(np.array([*each, 0.0])[choice].mean()) for each in (self.cost_shares, self.flops_shares))
        return Report(choice, cost, share, float(flops_share_run), milliseconds, self.router_share, plan, why or {})

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
        return Look(self.policy, self.network, lr, side, stride or side).scores

    def plan(self, choice: Choice, lr: Tensor) -> Plan:
        """What a runner is to do with an LR image (C, H, W), each patch by its chosen subnet at least.

        What plans are to save is time. It is measured where the policy counts it, and on CUDA where windows are thought
        of; otherwise plans are compared by their work.
        """
        return self._planned(choice, lr)[0]

    @property
    def costs(self) -> CostModel:
        """Of network calls; measured when first asked for, where they are to be measured."""
        by_windows = self.device.type == "cuda" and self.settings.plan in ("auto", "windows")
        measured = by_windows or self.policy.cost == "latency"
        if measured not in self._known_costs:
            if measured:
                room = self.memory.batch_pixels(torch.empty(self.network.in_channels, 1, 1, device=self.device))
                costs = measured_costs(self.pool, self.device, self.patch_size, room)
                self.windows.captures.limits = costs.captured
            else:
                costs = costs_by_work(self.network, self.device)
            self._known_costs[measured] = costs
        return self._known_costs[measured]

    def _planned(self, choice: Choice, lr: Tensor) -> tuple[Plan, Mapping[str, float]]:
        """The plan, and the seconds that it and others are predicted to take."""
        height, width = lr.shape[-2:]
        room = self.memory.window_pixels(lr, self.patch_size)
        request = Request(choice, height, width, self.costs, room, lambda: self._parts(choice), self.runner.threads(lr))
        return self.planner(request)

    def _may_begin_with(self, plan: Plan) -> bool:
        """Whether the next image of the size may begin with this plan, before it is known what its patches ask for: a
        dense run by the full network is good enough for all, and a GPU goes on by itself while the host looks."""
        if not isinstance(plan, TilePlan) or plan.kind != "dense" or self.policy.budget_in_time is not None:
            return False
        full = len(self.network.subnets) - 1
        return self._works_alone and {tile.subnet for tile in plan.tiles} == {full}

    @property
    def _works_alone(self) -> bool:
        """Whether the device computes while the host does something else."""
        return self.device.type == "cuda"

    def _routed(self, lr: Tensor, scores: Scores) -> tuple[Choice, Plan, Mapping[str, float]]:
        """The subnets of the patches, and the plan; a budget in time is kept by both together."""
        policy = self.policy

        def plan(choose: Choose) -> tuple[Choice, Plan, Mapping[str, float]]:
            choice = choose(scores)
            return choice, *self._planned(choice, lr)

        allowed = policy.budget_in_time
        if allowed is None:
            return plan(self._choose)
        dense = float(self.costs.dense[-1](lr.shape[-2] * lr.shape[-1]))
        least = min(self.cost_shares)
        return largest_share(
            lambda budget: plan(self._chooser(with_budget(policy, budget))),
            lambda found: found[1].seconds,
            least,
            allowed,
            dense,
        )

    def _run(self, lr: Tensor, plan: Plan) -> Tensor:
        """The result of a plan, (C, scale H, scale W)."""
        return self.windows(lr, plan) if isinstance(plan, WindowPlan) else self.runner(lr, plan)

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
        self._again = {}
        self.policy = make_policy(policy, {}) if isinstance(policy, str) else policy
        by_time = self.policy.cost == "latency"
        self.cost_shares = self.costs.shares(_SHARES_AT[self.device.type]) if by_time else self.flops_shares
        self.router_share = self.policy.own_share(self.network)
        self._choose = self._chooser(self.policy)

    def _chooser(self, policy: Policy) -> Choose:
        return spare_flat(policy.chooser(self.network.subnets, self.cost_shares, self.profile))
