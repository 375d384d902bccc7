"""A budget in time: how much of it routing may spend on patches, so that halos and calls are paid as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Planned = TypeVar("Planned")

_STEPS = 7  # of bisection, the last of which changes the share by less than a hundredth


def largest_share(
    plan: Callable[[float], Planned], seconds: Callable[[Planned], float], least: float, budget: float, dense: float
) -> Planned:
    """The plan of the largest mean cost of patches that keeps a budget in time.

    Args:
        plan: from the mean cost that patches may have, as a share of the full network's, to a plan.
        seconds: that a plan is predicted to take.
        least: the smallest mean cost that there is.
        budget: what a plan may take, as a share of `dense`.
        dense: seconds of the full network's dense run.

    Raises:
        ValueError: not even the cheapest patches keep it; it says what the least is.
    """
    best = plan(budget)
    if seconds(best) <= budget * dense:
        return best
    best = plan(least)
    if seconds(best) > budget * dense:
        raise ValueError(
            f"budget must be at least {seconds(best) / dense:.4f} on this image, halos and calls included, for it "
            f"counts time (cost: latency), got {budget}: raise it, or count flops"
        )
    low, high = least, budget
    for _ in range(_STEPS):
        middle = (low + high) / 2
        found = plan(middle)
        if seconds(found) <= budget * dense:
            low, best = middle, found
        else:
            high = middle
    return best
