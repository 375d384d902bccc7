"""Plans of windows: which sides, which subnets, which batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wbsr_models.inference.batches import Batches
from wbsr_models.inference.costs import SIDES, CostModel
from wbsr_models.inference.planner import Request
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.trimming import Parts
from wbsr_models.inference.windows import Batch, Grid, Ints, Layout, Places, arrange, cover
from wbsr_models.routing.choice import NO_SUBNET, Choice

BATCH_PIXELS = 2**18  # LR pixels of the largest batch: a GPU is busy, and SRResNet's layers take 2 GB in half precision
_SPARE_CALLS = 3  # beside one for each subnet and what large batches need
_TOLL = 1 / 64  # of a plan's seconds, on top of each call, where there are too many; doubled until there are not
_MULTIPLE = max(SIDES)
_KEPT_SIZES = 64  # of images


@dataclass(frozen=True)
class WindowPlan:
    """Windows, each under one subnet, whose patches write every pixel of an image once.

    Args:
        layout: of the image.
        places: of the windows, one for each side.
        interpolates: whether patches that no window writes are interpolated.
        together: LR pixels of windows whose outputs may be written together.
        seconds: as predicted.
    """

    layout: Layout
    places: tuple[Places, ...]
    interpolates: bool
    together: int = 2 * BATCH_PIXELS
    seconds: float = field(default=0.0, compare=False)
    kind: str = "windows"

    @property
    def calls(self) -> int:
        """Of networks."""
        return sum(batch.calls for places in self.places for batch in places.batches)

    def computed_pixels(self, shares: Sequence[float], parts: Callable[[], Sequence[Parts]]) -> float:
        """LR pixels of the full network whose FLOPs the plan costs: halos and windows that fill up a batch count.

        Args:
            shares: of each subnet's FLOPs over the full network's.
            parts: of no concern to windows, which are computed whole.
        """
        return sum(
            shares[batch.subnet] * batch.windows * self.layout.area(places.side)
            for places in self.places
            for batch in places.batches
        )


class WindowPlanner:
    """Takes the fastest of windows of all sides together, and of one side each.

    What the size of an image says is kept for the next image of that size.

    Args:
        patch_size: LR pixels.
        settings: halo, and the size of batches.
    """

    def __init__(self, patch_size: int, settings: EngineSettings) -> None:
        self.patch_size, self.settings = patch_size, settings
        self._known: dict[tuple[Layout, int, int], tuple[CostModel, Grid, dict[int, Batches]]] = {}

    def __call__(self, request: Request) -> WindowPlan:
        """The plan of an image."""
        layout = Layout(request.height, request.width, self.patch_size, self.settings.window_halo)
        _, grid, batches = self._of_size(layout, request.costs, request.max_pixels)
        best, squares, runs = math.inf, dict[int, Choice](), dict[int, Ints]()
        for sides in dict.fromkeys((tuple(batches), *((side,) for side in batches))):
            found = cover(request.choice, {side: batches[side].prices for side in sides}, _MULTIPLE)
            counts = {side: _counts(found[side], len(request.costs.dense)) for side in sides}
            if sum(float(counts[side] @ batches[side].prices) for side in sides) < best:
                lifted, seconds = _lifted({side: batches[side] for side in sides}, counts)
                if seconds < best:
                    best, squares, runs = seconds, dict(found), lifted
        places = tuple(
            self._places(squares[side], runs[side], side, grid, batches[side])
            for side in runs
            if (squares[side] != NO_SUBNET).any()
        )
        seconds = best + float(request.costs.moving(request.height * request.width))
        interpolates = bool((request.choice == NO_SUBNET).any())
        return WindowPlan(layout, places, interpolates, min(2 * BATCH_PIXELS, request.max_pixels), seconds)

    def least(self, request: Request) -> float:
        """Seconds that windows take at the least, however they lie and are put together; known in no time."""
        layout = Layout(request.height, request.width, self.patch_size, self.settings.window_halo)
        _, _, batches = self._of_size(layout, request.costs, request.max_pixels)
        per_patch = np.min([of_side.least / side**2 for side, of_side in batches.items()], axis=0)
        pixels = request.height * request.width
        return float(np.append(per_patch, 0.0)[request.choice].sum() + request.costs.moving(pixels))

    def _of_size(self, layout: Layout, costs: CostModel, max_pixels: int) -> tuple[CostModel, Grid, dict[int, Batches]]:
        """What the layout says; a window that does not fit into the memory is none, but for a patch's own."""
        key = layout, id(costs), max_pixels
        if key not in self._known:
            if len(self._known) >= _KEPT_SIZES:
                self._known.clear()
            limit = int(min(self.settings.batch_pixels or BATCH_PIXELS, max_pixels, costs.batch_pixels))
            batches = {}
            for side in SIDES:
                area = layout.area(side)
                if side == 1 or area <= max_pixels:
                    count = -(-layout.rows // side) * -(-layout.cols // side)
                    batches[side] = Batches(costs.windows[side], area, max(1, limit // area), count, costs.captured)
            self._known[key] = costs, Grid(layout, tuple(batches), _MULTIPLE), batches
        return self._known[key]

    def _places(self, squares: Choice, runs: Ints, side: int, grid: Grid, batches: Batches) -> Places:
        subnets = np.append(runs, NO_SUBNET)[squares.ravel()]
        counts = _counts(subnets, len(runs))
        found = [
            Batch(m, int(batches.calls[counts[m]]), int(batches.sizes[m, counts[m]]))
            for m in np.flatnonzero(counts).tolist()
        ]
        return arrange(subnets, side, grid, found)


def _counts(squares: Choice, subnets: int) -> Ints:
    """(M,): windows of each subnet."""
    return np.bincount(squares.ravel() + 1, minlength=subnets + 1)[1:]


def _lifted(batches: Mapping[int, Batches], counts: Mapping[int, Ints]) -> tuple[dict[int, Ints], float]:
    """By side, the subnet that runs for each that is wanted; and the seconds of all. Where that takes more calls than
    there shall be, calls get dearer until it does not."""
    toll = 0.0
    while True:
        runs = {side: batches[side].lift(counts[side], toll) for side in counts}
        calls = needed = subnets = 0
        seconds = 0.0
        for side, numbers in runs.items():
            windows, subnets = np.bincount(numbers, counts[side], len(numbers)).astype(np.int64), len(numbers)
            calls += int(batches[side].calls[windows].sum())
            needed += int(windows.sum()) // batches[side].most
            seconds += float(batches[side].seconds[np.arange(subnets), windows].sum())
        if calls <= subnets + _SPARE_CALLS + needed:
            return runs, seconds
        toll = 2 * toll or _TOLL * seconds
