"""How windows of one shape are put together to network calls, and under which subnets they run.

A subnet's windows run in batches of one size, the last one filled up. Where graphs are captured that size is one of a
short list, so that few need capturing; elsewhere the windows are spread evenly over as few calls as hold them.

A call costs something beside its windows, and a device may run a larger subnet faster than a smaller one. So subnets
are lifted: windows whose subnets are neighbours in order of FLOPs run together under one that is at least as large,

    best(first j subnets) = min over i of best(first i) + min over m >= j of seconds of i+1..j's windows under m
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wbsr_models.inference.curve import Curve
from wbsr_models.inference.windows import Floats, Ints

SIZES = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256])  # of captured batches, in windows


@dataclass(frozen=True)
class Batches:
    """Calls on windows of one shape.

    Args:
        curves: of each subnet.
        area: LR pixels of a window.
        most: windows of the largest batch, one at least.
        captured: for each subnet the LR pixels up to which batches are captured.
    """

    curves: Sequence[Curve]
    area: int
    most: int
    captured: Sequence[float]

    def calls(self, windows: Ints | np.int64) -> Ints:
        """Network calls for so many windows of one subnet, of any shape."""
        return np.asarray(-(-windows // self.most))

    def size(self, subnet: int, windows: Ints | np.int64) -> Ints:
        """Windows of each of these calls."""
        even = -(-windows // np.maximum(self.calls(windows), 1))
        if not self.captured[subnet]:
            return np.asarray(even)
        listed = np.minimum(SIZES[np.minimum(np.searchsorted(SIZES, even), len(SIZES) - 1)], self.most)
        return np.where((listed >= even) & (listed * self.area <= self.captured[subnet]), listed, even)

    def seconds(self, subnet: int, windows: Ints | np.int64, toll: float = 0.0) -> Floats:
        """What they take, each call `toll` longer than it does."""
        return np.asarray(self.calls(windows) * (self.curves[subnet](self.size(subnet, windows) * self.area) + toll))

    def prices(self) -> Floats:
        """(M,): what one window among many costs whose patches want subnet m: the cheapest that is as large."""
        each = [float(curve(self.most * self.area)) / self.most for curve in self.curves]
        return np.minimum.accumulate(np.array(each)[::-1])[::-1]

    def lift(self, counts: NDArray[np.integer], toll: float = 0.0) -> tuple[Ints, float]:
        """Under which subnets windows run.

        Args:
            counts: (M,), how many windows want each subnet.
            toll: seconds on top of each call.

        Returns:
            (M,), the subnet that runs for each, at least as large; and the seconds of all, tolls included.
        """
        numbers = np.arange(len(counts))
        used = np.flatnonzero(counts)
        if not len(used):
            return numbers, 0.0
        upto = np.concatenate([[0], np.cumsum(counts[used])])
        windows = np.maximum(upto[None, 1:] - upto[:-1, None], 0)  # (first, last) of subnets that run together
        table = np.stack([self.seconds(subnet, windows, toll) for subnet in range(len(counts))])
        table[np.broadcast_to((numbers[:, None] < used)[:, None, :], table.shape)] = np.inf
        runs, cost = table.argmin(0), table.min(0)
        best, begins = [0.0], []
        for last in range(len(used)):
            found = [best[first] + float(cost[first, last]) for first in range(last + 1)]
            begins.append(int(np.argmin(found)))
            best.append(found[begins[-1]])
        last = len(used) - 1
        while last >= 0:
            first = begins[last]
            numbers[used[first] : used[last] + 1] = runs[first, last]
            last = first - 1
        together = np.bincount(numbers, counts, len(numbers)).astype(np.int64)
        return numbers, sum(float(self.seconds(m, together[m], toll)) for m in np.flatnonzero(together).tolist())
