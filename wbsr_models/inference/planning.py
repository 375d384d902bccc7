"""Which plan an image gets: the one that is asked for, or the one that is predicted to be fastest.

All plans are at least as good as what was asked for: no patch gets a smaller subnet than it was routed to.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wbsr_models.inference.planner import DensePlanner, Request, TilePlan, TilePlanner
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.window_planner import WindowPlan, WindowPlanner
from wbsr_models.routing.choice import NO_SUBNET

Plan = TilePlan | WindowPlan

# Where times were measured, what another plan may take of a dense run's time to be preferred: beside its network calls
# it has to be planned, cut and put together, and predictions err.
_SURELY_FASTER = 0.97
_PLANNING_TILES = 2e-3, 5e-6  # seconds: of an image, and of each patch


class Planner:
    """Plans images.

    Args:
        patch_size: LR pixels.
        settings: `plan` says which kind is asked for.
        scale: of the network.
    """

    def __init__(self, patch_size: int, settings: EngineSettings, scale: int) -> None:
        self.settings = settings
        halo = settings.tile_halo(scale)
        self._dense, self._tiles = DensePlanner(halo), TilePlanner(patch_size, halo, settings.max_tile)
        self._windows = WindowPlanner(patch_size, settings)

    def __call__(self, request: Request) -> tuple[Plan, Mapping[str, float]]:
        """The plan of an image, and for each kind of plan that was thought of the seconds that it is predicted to take.

        Raises:
            ValueError: it can't be had within the memory.
        """
        plans = self._plans(request)
        sure = _SURELY_FASTER if request.costs.measured else 1.0
        best = min(plans, key=lambda plan: plan.seconds * (sure if plan.kind == "dense" else 1.0))
        return best, {plan.kind: plan.seconds for plan in plans}

    def _plans(self, request: Request) -> list[Plan]:
        if self.settings.plan == "tiles":
            return [self._tiles(request)]
        if self.settings.plan == "windows":
            return [self._windows(request)]
        if self.settings.plan == "dense":
            return [self._dense(request)]
        plans: list[Plan] = []
        if self._dense.bands(request) is not None:
            plans.append(self._dense(request))
        # arithmetic does not tell how many windows a device does in the time of a few
        if request.costs.measured and (not plans or self._windows.least(request) < _SURELY_FASTER * plans[0].seconds):
            plans.append(self._windows(request))
        if not plans or _least_by_tiles(request) < min(plan.seconds for plan in plans):
            plans.append(self._tiles(request))
        return plans


def _least_by_tiles(request: Request) -> float:
    """Seconds that tiles take at the least, without a halo; where times are real, with those that planning them takes,
    which is longest of all plans."""
    numbers, patches = np.unique(request.choice, return_counts=True)
    per_pixel = np.array([*request.costs.per_pixel, 0.0])[numbers]  # last: number -1, interpolation
    pixels = request.height * request.width / request.choice.size
    calls = sum(request.costs.per_call[number] for number in numbers if number != NO_SUBNET)
    planning = _PLANNING_TILES[0] + _PLANNING_TILES[1] * request.choice.size if request.costs.measured else 0.0
    return float(per_pixel @ patches * pixels + calls + planning)
