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

Over a set of images the same sweep finds the price at which the set as a whole keeps to its budget: how much error a
step has to save per cost. Quality is told in dB, as the mean over images, and a small change of an image's squared
error E_i changes its PSNR in proportion to ΔE_i / E_i. So where the images are known, errors count by what each image
is left with at best,

    Σ_i Σ_k n_ik·D[k, m_ik] / E_i    with    E_i = Σ_k n_ik·min_m D[k, m]

    n_k: patches of class k    C_m: cost of subnet m    D[k, m]: expected squared error    B: budget, a mean cost
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NO_ERROR = 1e-12  # squared, of an image
_SLACK = 1e-9  # of a patch, so that a budget which is just one allocation's cost affords it in floating point


@dataclass(frozen=True)
class Step:
    """Lifts a patch of class `k` (counted from 0) from subnet `old` to subnet `new`, for `cost` more; steps of more
    `worth` are taken first."""

    k: int
    old: int
    new: int
    cost: float
    worth: float


@dataclass(frozen=True)
class Price:
    """At which steps are taken: all of more worth than `worth`, and those of just that worth for this `share` of the
    patches."""

    worth: float
    share: float


def steps_by_error(errors: ArrayLike, costs: Sequence[float]) -> list[Step]:
    """Steps in the order of their worth, the error saved per cost.

    Args:
        errors: (K, M), D[k, m].
        costs: C_m of each subnet, above 0, in any order.
    """
    table = np.asarray(errors, dtype=np.float64)
    steps = []
    for k, row in enumerate(table):
        for old, new in pairwise(lower_hull(costs, row)):
            cost = costs[new] - costs[old]
            steps.append(Step(k, old, new, cost, float(row[old] - row[new]) / cost))
    return _by_worth(steps)


def steps_by_class(num_classes: int, costs: Sequence[float]) -> list[Step]:
    """Steps in the order in which a growing α takes them in Eq. 16 (our reading), where there is no error table.

    Class k wants the cost α·k/K, so it goes from one subnet to the next where that is halfway between their costs; a
    step's worth is 1/α there, over K.

    Args:
        num_classes: K.
        costs: C_m of each subnet, above 0, in any order.
    """
    order = [number for _, number in sorted({cost: m for m, cost in enumerate(costs)}.items())]
    return _by_worth(
        Step(k, old, new, costs[new] - costs[old], (k + 1) / ((costs[old] + costs[new]) / 2))
        for k in reversed(range(num_classes))
        for old, new in pairwise(order)
    )


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
    result, left = _at_the_cheapest(counts, steps, costs), _left(counts, costs, budget)
    for step in steps:
        lifted = min(int(result[step.k, step.old]), int(left / step.cost + _SLACK))
        _lift(result, step, lifted)
        left -= lifted * step.cost
    return result


def price_over(
    images: ArrayLike, weights: ArrayLike, steps: Sequence[Step], costs: Sequence[float], budget: float
) -> Price:
    """The price at which a set of images keeps to its budget.

    Args:
        images: (I, K), patches of each class, or numbers in proportion to them.
        weights: (I,), by which a step's worth counts in each image, above 0.
        steps: in the order of their worth.
        costs: C_m of each subnet.
        budget: B, the largest mean cost of a patch of the set, at least the cheapest subnet's.

    Raises:
        ValueError: the budget is below the cheapest subnet's cost.
    """
    patches, left = np.asarray(images, dtype=np.float64), _left(images, costs, budget)
    worth = np.multiply.outer(weights, [step.worth for step in steps]).ravel()
    dear = (patches[:, [step.k for step in steps]] * [step.cost for step in steps]).ravel()
    values, place = np.unique(-worth, return_inverse=True)
    for value, cost in zip(-values, np.bincount(place, dear, len(values)), strict=True):
        if cost > left:
            return Price(float(value), float(left / cost))
        left -= cost
    return Price(0.0, 1.0)


def spend_at(
    price: Price, counts: ArrayLike, weight: float, steps: Sequence[Step], costs: Sequence[float]
) -> NDArray[np.int64]:
    """What an image of a set gets at the set's price: int64 (K, M), patches of each class under each subnet.

    Args:
        price: of the set.
        counts: (K,), patches of each class.
        weight: by which a step's worth counts in this image.
        steps: in the order of their worth.
        costs: C_m of each subnet.
    """
    result = _at_the_cheapest(counts, steps, costs)
    for step in steps:
        worth = weight * step.worth
        share = 1.0 if worth > price.worth else price.share if worth == price.worth else 0.0
        _lift(result, step, round(share * int(result[step.k, step.old])))
    return result


def by_own_error(counts: ArrayLike, errors: ArrayLike) -> float:
    """1 / E_i, the weight of an image with these patches of each class, (K,), by the error table D[k, m], (K, M)."""
    least = float(np.asarray(counts, np.float64) @ np.asarray(errors, np.float64).min(axis=1))
    return 1 / max(least, _NO_ERROR)


def _by_worth(steps: Iterable[Step]) -> list[Step]:
    return sorted(steps, key=lambda step: -step.worth)


def _left(counts: ArrayLike, costs: Sequence[float], budget: float) -> float:
    """What a budget leaves beyond the cheapest subnet for all patches."""
    if budget < min(costs):
        raise ValueError(f"budget must be at least the cheapest subnet's cost of {min(costs):.4g}, got {budget}")
    return float((budget - min(costs)) * np.sum(counts))


def _at_the_cheapest(counts: ArrayLike, steps: Sequence[Step], costs: Sequence[float]) -> NDArray[np.int64]:
    """(K, M), before any step."""
    patches = np.asarray(counts, dtype=np.int64)
    result = np.zeros((len(patches), len(costs)), dtype=np.int64)
    cheapest = min(range(len(costs)), key=lambda m: costs[m])
    for k, count in enumerate(patches):
        result[k, next((step.old for step in steps if step.k == k), cheapest)] = count
    return result


def _lift(result: NDArray[np.int64], step: Step, patches: int) -> None:
    result[step.k, step.old] -= patches
    result[step.k, step.new] += patches
