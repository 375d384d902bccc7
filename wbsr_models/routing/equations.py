"""Which subnet each patch gets, from its difficulty class and score: the paper's rules, and sharing out a budget.

Eq. 15 looks the subnet up:

    m = ⌈k·M/K⌉                                                                                 (15)

Eq. 16 looks for the subnet whose cost is nearest to what the class deserves. As printed,

    m = argmin_m |α·k·C_m/K - C_t|                                                              (16)

it gives the *largest* subnet to the *easiest* class (the product grows with C_m, so a small k needs a large C_m to come
near C_t), against the paper's own text. Our reading:

    m = argmin_m |C_m - α·(k/K)·C_t|                                                            (16, as read here)

C_t is the cost granted to the hardest class at α = 1; a larger α spends more.

    k: class, 1 (easy) to K    m: subnet, in order of cost, 1 to M    C_m: its cost    C_t: the budget    α: above 0
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def route_by_class(classes: NDArray[np.integer], num_classes: int, num_subnets: int) -> NDArray[np.int64]:
    """m = ⌈k·M/K⌉ (15), counted from 0: the index of the subnet in order of cost.

    Args:
        classes: difficulty classes k in 1..K, of any shape.
        num_classes: K.
        num_subnets: M.

    Returns:
        int64 of the same shape, in 0..M-1.
    """
    return -(-classes.astype(np.int64) * num_subnets // num_classes) - 1


def route_by_cost(
    classes: NDArray[np.integer], num_classes: int, costs: Sequence[float], budget: float, alpha: float = 1.0
) -> NDArray[np.int64]:
    """m = argmin_m |C_m - α·(k/K)·C_t| (16, as read here), counted from 0; of two as near, the cheaper.

    Args:
        classes: difficulty classes k in 1..K, of any shape.
        num_classes: K.
        costs: C_m of each subnet, in any order.
        budget: C_t, in the unit of the costs.
        alpha: α.

    Returns:
        int64 of the same shape, in 0..M-1.
    """
    order = np.argsort(costs, kind="stable")
    wanted = alpha * np.arange(1, num_classes + 1) / num_classes * budget
    nearest = np.abs(np.asarray(costs)[order] - wanted[:, None]).argmin(axis=1)
    return np.asarray(order[nearest][classes.astype(np.int64) - 1], dtype=np.int64)


def route_by_allocation(
    scores: NDArray[np.floating], classes: NDArray[np.integer], allocation: NDArray[np.int64], costs: Sequence[float]
) -> NDArray[np.int64]:
    """Give each patch a subnet so that class k uses subnet m `allocation[k - 1, m]` times.

    Where a class is split between subnets, its patches of higher score get the dearer ones.

    Args:
        scores: of any shape.
        classes: difficulty classes k in 1..K, of the same shape.
        allocation: (K, M), row k sums to the patches of class k.
        costs: C_m of each subnet.

    Returns:
        int64 of the same shape, in 0..M-1.
    """
    by_class_and_score = np.lexsort((scores.ravel(), classes.ravel()))
    by_cost = np.argsort(costs, kind="stable")
    result = np.empty(scores.size, dtype=np.int64)
    result[by_class_and_score] = np.repeat(np.tile(by_cost, len(allocation)), allocation[:, by_cost].ravel())
    return result.reshape(scores.shape)
