"""Which subnets a budget buys: how many patches of each class get which subnet.

Written as steps. Every patch starts with the cheapest subnet; a step lifts patches of one class from a subnet to a
dearer one. In which order steps are worth taking is the policy, and spending is the same loop for each: take every step
for as many patches as still fit.

By error, the steps of a class are the edges of the lower convex hull of its points (C_m, D[k, m]), and all steps are
sorted by the error that they save per cost. Taken in that order they minimise

    Σ_k n_k·D[k, m_k]    subject to    Σ_k n_k·C_{m_k} ≤ B·Σ_k n_k

(the Lagrangian sweep over the hulls solves its relaxation, and what remains is less than one patch's step). A larger
budget never has a larger error: at the first step that it affords and the smaller budget does not, it saves at least as
much as the smaller one can with all that it has left. Subnets off the hull are never used.

    n_k: patches of class k    C_m: cost of subnet m    D[k, m]: expected squared error    B: budget, a mean cost
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SLACK = 1e-9  # of a patch, so that a budget which is just one allocation's cost affords it in floating point


@dataclass(frozen=True)
class Step:
    """Lifts a patch of class `k` (counted from 0) from subnet `old` to subnet `new`, for `cost` more."""

    k: int
    old: int
    new: int
    cost: float


def steps_by_error(errors: ArrayLike, costs: Sequence[float]) -> list[Step]:
    """Steps in the order of error saved per cost.

    Args:
        errors: (K, M), D[k, m].
        costs: C_m of each subnet, above 0, in any order.
    """
    table = np.asarray(errors, dtype=np.float64)
    ranked = []
    for k, row in enumerate(table):
        hull = lower_hull(costs, row)
        for old, new in pairwise(hull):
            cost = costs[new] - costs[old]
            ranked.append((float(row[new] - row[old]) / cost, Step(k, old, new, cost)))
    return [step for _, step in sorted(ranked, key=lambda pair: pair[0])]


def steps_by_class(num_classes: int, costs: Sequence[float]) -> list[Step]:
    """Steps in the order in which a growing α takes them in Eq. 16 (our reading), where there is no error table.

    Class k wants the cost α·k/K, so it goes from one subnet to the next where that is halfway between their costs.

    Args:
        num_classes: K.
        costs: C_m of each subnet, above 0, in any order.
    """
    order = [number for _, number in sorted({cost: m for m, cost in enumerate(costs)}.items())]
    ranked = [
        ((costs[old] + costs[new]) / 2 / (k + 1), Step(k, old, new, costs[new] - costs[old]))
        for k in reversed(range(num_classes))
        for old, new in pairwise(order)
    ]
    return [step for _, step in sorted(ranked, key=lambda pair: pair[0])]


def lower_hull(costs: Sequence[float], errors: Sequence[float] | NDArray[np.float64]) -> list[int]:
    """The subnets worth having: from the cheapest on, always the one that saves most error per cost next.

    Returns:
        Their numbers; costs increase, errors decrease, and less and less is saved per cost.
    """
    current = min(range(len(costs)), key=lambda m: (costs[m], errors[m]))
    hull = [current]
    while True:
        better = [m for m in range(len(costs)) if costs[m] > costs[current] and errors[m] < errors[current]]
        if not better:
            return hull
        base = current
        current = min(better, key=lambda m: ((errors[m] - errors[base]) / (costs[m] - costs[base]), costs[m]))
        hull.append(current)


def allocate(counts: ArrayLike, steps: Sequence[Step], costs: Sequence[float], budget: float) -> NDArray[np.int64]:
    """Spend a budget on the patches of an image.

    Args:
        counts: (K,) patches n_k of each class, easiest first.
        steps: in the order of their worth.
        costs: C_m of each subnet.
        budget: B, the largest mean cost of a patch, at least the cheapest subnet's.

    Returns:
        int64 (K, M): patches of each class under each subnet. The mean cost is at most the budget, and no further step
        fits: what is left is less than one patch's step, or nothing is left to gain.

    Raises:
        ValueError: the budget is below the cheapest subnet's cost.
    """
    patches = np.asarray(counts, dtype=np.int64)
    cheapest = min(range(len(costs)), key=lambda m: costs[m])
    if budget < costs[cheapest]:
        raise ValueError(f"budget must be at least the cheapest subnet's cost of {costs[cheapest]:.4g}, got {budget}")
    result = np.zeros((len(patches), len(costs)), dtype=np.int64)
    for k, count in enumerate(patches):
        start = next((step.old for step in steps if step.k == k), cheapest)
        result[k, start] = count
    left = float((budget - costs[cheapest]) * patches.sum())
    for step in steps:
        lifted = min(int(result[step.k, step.old]), int(left / step.cost + _SLACK))
        result[step.k, step.old] -= lifted
        result[step.k, step.new] += lifted
        left -= lifted * step.cost
    return result


def in_proportion(counts: ArrayLike, allocation: NDArray[np.int64]) -> NDArray[np.int64]:
    """Divide the patches of each class among the subnets as a larger allocation does, to the nearest whole patch.

    Args:
        counts: (K,) patches of each class.
        allocation: (K, M), at least one patch in each class.

    Returns:
        int64 (K, M), row k sums to the patches of class k.
    """
    edges = np.cumsum(allocation, axis=1) / allocation.sum(axis=1, keepdims=True)
    whole = np.rint(edges * np.asarray(counts)[:, None]).astype(np.int64)
    return np.asarray(np.diff(whole, axis=1, prepend=0))
