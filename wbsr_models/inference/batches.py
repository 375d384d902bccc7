"""How windows of one shape are put together to network calls, and under which subnets they run.

A subnet's windows run in batches of one size, the last one filled up. Where graphs are captured that size is one of a
short list, so that few need capturing; elsewhere the windows are spread evenly over as few calls as hold them.

A call costs something beside its windows, and a device may run a larger subnet faster than a smaller one. So subnets
are lifted: windows whose subnets are neighbours in order of FLOPs run together under one that is at least as large,

    best(first j subnets) = min over i of best(first i) + min over m >= j of seconds of i+1..j's windows under m
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wbsr_models.inference.curve import Curve
from wbsr_models.inference.windows import Floats, Ints

SIZES = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256])  # of captured batches, in windows


class Batches:
    """Calls on windows of one shape, of up to `count` windows; tables are made once, for images of one size.

    Args:
        curves: of each subnet.
        area: LR pixels of a window.
        most: windows of the largest batch, one at least.
        count: windows that there are at the most.
        captured: for each subnet the LR pixels up to which batches are captured.
    """

    def __init__(self, curves: Sequence[Curve], area: int, most: int, count: int, captured: Sequence[float]) -> None:
        self.area, self.most = area, most
        windows = np.arange(count + 1)
        self.calls = -(-windows // most)  # (count + 1,), network calls for so many windows of one subnet
        even = -(-windows // np.maximum(self.calls, 1))
        listed = np.minimum(SIZES[np.minimum(np.searchsorted(SIZES, even), len(SIZES) - 1)], most)
        is_listed = (listed >= even) & (listed * area <= np.array(captured)[:, None])
        self.sizes = np.where(is_listed, listed, even)  # (M, count + 1), windows of each of these calls
        times = [curve(size * area) for curve, size in zip(curves, self.sizes, strict=True)]
        self.seconds: Floats = np.multiply(
            self.calls, np.stack(times), dtype=np.float64
        )  # (M, count + 1), of all calls
        # (M,), what one window among many costs whose patches want subnet m, and at the least among any number
        self.prices = _as_large(np.array([float(curve(most * area)) / most for curve in curves]))
        self.least = _as_large((self.seconds[:, 1:] / windows[1:]).min(1))

    def lift(self, counts: NDArray[np.integer], toll: float = 0.0) -> Ints:
        """Under which subnets windows run.

        Args:
            counts: (M,), how many windows want each subnet.
            toll: seconds on top of each call.

        Returns:
            (M,), the subnet that runs for each, at least as large.
        """
        numbers = np.arange(len(counts))
        used = np.flatnonzero(counts)
        if not len(used):
            return numbers
        upto = np.concatenate([[0], np.cumsum(counts[used])])
        windows = np.maximum(upto[None, 1:] - upto[:-1, None], 0)  # (first, last) of subnets that run together
        table = self.seconds[:, windows]
        table[np.broadcast_to((numbers[:, None] < used)[:, None, :], table.shape)] = np.inf
        runs, cost = table.argmin(0), (table.min(0) + toll * self.calls[windows]).tolist()
        best, begins = [0.0], []
        for last in range(len(used)):
            found = [best[first] + cost[first][last] for first in range(last + 1)]
            begins.append(min(range(last + 1), key=found.__getitem__))
            best.append(found[begins[-1]])
        last = len(used) - 1
        while last >= 0:
            first = begins[last]
            numbers[used[first] : used[last] + 1] = runs[first, last]
            last = first - 1
        return numbers


def _as_large(each: Floats) -> Floats:
    """(M,): the cheapest of those that are as large."""
    return np.asarray(np.minimum.accumulate(each[::-1])[::-1], np.float64)
