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


def plan_image(request: Request, patch_size: int, settings: EngineSettings) -> tuple[Plan, Mapping[str, float]]:
    """The plan of an image, and for each kind of plan that was thought of the seconds that it is predicted to take.

    Args:
        request: the image, and what is known of it.
        patch_size: LR pixels.
        settings: `plan` says which kind is asked for.

    Raises:
        ValueError: it can't be had within the memory.
    """
    plans = _plans(request, patch_size, settings)
    sure = _SURELY_FASTER if request.costs.measured else 1.0
    best = min(plans, key=lambda plan: plan.seconds * (sure if plan.kind == "dense" else 1.0))
    return best, {plan.kind: plan.seconds for plan in plans}


def _plans(request: Request, patch_size: int, settings: EngineSettings) -> list[Plan]:
    if settings.plan == "tiles":
        return [TilePlanner(patch_size, settings)(request)]
    if settings.plan == "windows":
        return [WindowPlanner(patch_size, settings)(request)]
    if settings.plan == "dense":
        return [DensePlanner()(request)]
    plans: list[Plan] = []
    if request.height * request.width <= request.max_pixels:
        plans.append(DensePlanner()(request))
    if request.costs.measured:  # arithmetic does not tell how many windows a device does in the time of a few
        plans.append(WindowPlanner(patch_size, settings)(request))
    if not plans or _least_by_tiles(request) < min(plan.seconds for plan in plans):
        plans.append(TilePlanner(patch_size, settings)(request))
    return plans


def _least_by_tiles(request: Request) -> float:
    """Seconds that tiles take at the least, without a halo: planning them takes longest, so it has to be worth it."""
    numbers, patches = np.unique(request.choice, return_counts=True)
    per_pixel = np.array([*request.costs.per_pixel, 0.0])[numbers]  # last: number -1, interpolation
    pixels = request.height * request.width / request.choice.size
    calls = sum(request.costs.per_call[number] for number in numbers if number != NO_SUBNET)
    return float(per_pixel @ patches * pixels + calls)
