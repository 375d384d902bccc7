"""Which subnet each patch gets: a table lookup from its difficulty class (paper, Eq. 15)."""

from __future__ import annotations

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
