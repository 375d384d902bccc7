"""Plans of windows: which sides, which subnets, which batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wbsr_models.inference.batches import Batches
from wbsr_models.inference.costs import SIDES, CostModel
from wbsr_models.inference.planner import Request
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.trimming import Parts
from wbsr_models.inference.windows import Ints, Layout, Places, Squares, cover, places
from wbsr_models.routing.choice import NO_SUBNET, Choice

BATCH_PIXELS = 2**18  # LR pixels of the largest batch: a GPU is busy, and SRResNet's layers take 2 GB in half precision
_TOGETHER = 4  # calls whose outputs are kept until they are written together
_SPARE_CALLS = 3  # beside one for each subnet and what large batches need
_TOLL = 1 / 64  # of a plan's seconds, on top of each call, where there are too many; doubled until there are not
_ALONE = tuple((side,) for side in SIDES)


@dataclass(frozen=True)
class Group:
    """Windows of one side under one subnet.

    Args:
        subnet: its number.
        side: patches along a window's side.
        calls: of the network.
        batch: windows of each.
        places: of all of them, those that fill up the last batch included.
    """

    subnet: int
    side: int
    calls: int
    batch: int
    places: Places


@dataclass(frozen=True)
class WindowPlan:
    """Windows, each under one subnet, whose patches write every pixel of an image once.

    Args:
        layout: of the image.
        groups: of windows, those of one side one after the other.
        interpolates: whether patches that no window writes are interpolated.
        seconds: as predicted.
    """

    layout: Layout
    groups: tuple[Group, ...]
    interpolates: bool
    seconds: float = field(default=0.0, compare=False)
    kind: str = "windows"

    @property
    def sides(self) -> tuple[int, ...]:
        """Of the windows, in the groups' order."""
        return tuple(dict.fromkeys(group.side for group in self.groups))

    @property
    def calls(self) -> int:
        """Of networks."""
        return sum(group.calls for group in self.groups)

    def computed_pixels(self, shares: Sequence[float], parts: Callable[[], Sequence[Parts]]) -> float:
        """LR pixels of the full network whose FLOPs the plan costs: halos and windows that fill up a batch count.

        Args:
            shares: of each subnet's FLOPs over the full network's.
            parts: of no concern to windows, which are computed whole.
        """
        return sum(
            shares[group.subnet] * group.calls * group.batch * self.layout.area(group.side) for group in self.groups
        )


@dataclass(frozen=True)
class WindowPlanner:
    """Takes the fastest of windows of one side each, and of all sides together."""

    patch_size: int
    settings: EngineSettings

    def __call__(self, request: Request) -> WindowPlan:
        """The plan of an image."""
        layout = Layout(request.height, request.width, self.patch_size, self.settings.halo)
        batches = self._batches(layout, request.costs, request.max_pixels)
        prices = {side: each.prices() for side, each in batches.items()}
        best: tuple[float, Squares, dict[int, Ints]] | None = None
        for sides in dict.fromkeys((tuple(batches), *_ALONE)):
            if not set(sides) <= set(batches):
                continue
            squares = cover(request.choice, {side: prices[side] for side in sides})
            counts = {side: _counts(squares[side], len(request.costs.dense)) for side in sides}
            if best is None or sum(float(counts[side] @ prices[side]) for side in sides) < best[0]:
                runs, seconds = _lifted(batches, counts, request.choice.size)
                if best is None or seconds < best[0]:
                    best = seconds, squares, runs
        assert best is not None  # a window of one patch always fits
        seconds, squares, runs = best
        groups = itertools.chain.from_iterable(
            _groups(squares[side], runs[side], side, layout, batches[side]) for side in runs
        )
        seconds += float(request.costs.moving(request.height * request.width))
        return WindowPlan(layout, tuple(groups), bool((request.choice == NO_SUBNET).any()), seconds)

    def _batches(self, layout: Layout, costs: CostModel, max_pixels: int) -> dict[int, Batches]:
        """By side; a window that does not fit into the memory is none, but for a patch's own."""
        limit = int(min(self.settings.batch_pixels or BATCH_PIXELS, max_pixels, costs.batch_pixels))
        return {
            side: Batches(costs.windows[side], layout.area(side), max(1, limit // layout.area(side)), costs.captured)
            for side in SIDES
            if side == 1 or layout.area(side) <= max_pixels
        }


def _counts(squares: Choice, subnets: int) -> Ints:
    """(M,): windows by the subnet that they want."""
    return np.bincount(squares.ravel() + 1, minlength=subnets + 1)[1:]


def _lifted(batches: Mapping[int, Batches], counts: Mapping[int, Ints], patches: int) -> tuple[dict[int, Ints], float]:
    """By side, the subnet that runs for each that is wanted; and the seconds of all. Where that takes more calls than
    there shall be, calls get dearer until it does not."""
    toll = 0.0
    while True:
        lifts = {side: batches[side].lift(counts[side], toll) for side in counts}
        runs = {side: numbers for side, (numbers, _) in lifts.items()}
        calls = needed = 0
        for side, numbers in runs.items():
            windows = np.bincount(numbers, counts[side], len(numbers)).astype(np.int64)
            calls += int(batches[side].calls(windows).sum())
            needed += int(windows.sum()) // batches[side].most
        seconds = sum(cost for _, cost in lifts.values()) - toll * calls
        if calls <= len(numbers) + _SPARE_CALLS + needed:
            return runs, seconds
        toll = 2 * toll or _TOLL * seconds


def _groups(squares: Choice, runs: Ints, side: int, layout: Layout, batches: Batches) -> Iterator[Group]:
    """The windows of one side by the subnets that run."""
    subnets = np.append(runs, NO_SUBNET)[squares.ravel()]
    for subnet in np.unique(subnets[subnets != NO_SUBNET]).tolist():
        numbers = np.flatnonzero(subnets == subnet)
        size = int(batches.size(subnet, np.int64(len(numbers))))
        for first in range(0, len(numbers), _TOGETHER * size):
            part = numbers[first : first + _TOGETHER * size]
            calls = -(-len(part) // size)
            yield Group(subnet, side, calls, size, places(part, squares.shape[1], side, layout, calls * size))
