"""How an image is cut into windows of few shapes, so that a whole image takes few network calls.

A window is a square of 1 x 1, 2 x 2 or 4 x 4 patches, its *side*, with the halo around it. All windows of a side have
one shape: where the image ends they are shifted inwards, so that their border is the image's and the network pads there
as in a dense run; what they read beyond the halo on the other side is thrown away like the halo. So the windows of a
subnet go through the network in batches.

Which squares become one window is a quadtree's choice, smallest first: four squares become one, under the dearest of
their subnets, where that window is cheaper than theirs together,

    best(square) = min(price of one window, Σ best(its quarters))

and a square that no window covers, since all its patches are interpolated, costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wbsr_models.routing.choice import NO_SUBNET, Choice

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Squares = Mapping[int, Choice]  # by side: (down, across), the subnet of each window, NO_SUBNET where there is none


@dataclass(frozen=True)
class Layout:
    """An LR image of height x width, cut into patches, with a halo around windows; all in LR pixels."""

    height: int
    width: int
    patch_size: int
    halo: int

    @property
    def rows(self) -> int:
        """Patches from top to bottom."""
        return -(-self.height // self.patch_size)

    @property
    def cols(self) -> int:
        """Patches from left to right."""
        return -(-self.width // self.patch_size)

    def window(self, side: int) -> tuple[int, int]:
        """Height and width of the windows of `side` x `side` patches."""
        length = side * self.patch_size + 2 * self.halo
        return min(length, self.height), min(length, self.width)

    def area(self, side: int) -> int:
        """LR pixels of a window of `side` x `side` patches."""
        height, width = self.window(side)
        return height * width


class Grid:
    """Where the windows of each side lie, and the patches in them: known from an image's size alone.

    `top`, `left`: by side, int64 (squares,), LR pixels, squares from left to right and from top to bottom. `square`,
    `down`, `right`: by side, int64 (patches,), the square of each patch, and where it begins in that square's window,
    LR pixels. `row`, `col`: int64 (patches,), patches from left to right and from top to bottom.

    Args:
        layout: of the image.
        sides: patches along a window's side.
        multiple: of which rows and columns of patches are made up to be one; a multiple of all sides.
    """

    def __init__(self, layout: Layout, sides: Sequence[int], multiple: int) -> None:
        self.layout = layout
        self.row, self.col = np.divmod(np.arange(layout.rows * layout.cols), layout.cols)
        self.top: dict[int, Ints] = {}
        self.left: dict[int, Ints] = {}
        self.square: dict[int, Ints] = {}
        self.down: dict[int, Ints] = {}
        self.right: dict[int, Ints] = {}
        rows, cols = (-(-length // multiple) * multiple for length in (layout.rows, layout.cols))
        for side in sides:
            height, width = layout.window(side)
            squares_down, across = rows // side, cols // side
            step = side * layout.patch_size
            tops = np.clip(np.arange(squares_down) * step - layout.halo, 0, layout.height - height)
            lefts = np.clip(np.arange(across) * step - layout.halo, 0, layout.width - width)
            self.top[side], self.left[side] = tops.repeat(across), np.tile(lefts, squares_down)
            self.square[side] = self.row // side * across + self.col // side
            self.down[side] = self.row * layout.patch_size - self.top[side][self.square[side]]
            self.right[side] = self.col * layout.patch_size - self.left[side][self.square[side]]


@dataclass(frozen=True)
class Batch:
    """Windows of one subnet: `calls` of its network on `size` windows each."""

    subnet: int
    calls: int
    size: int

    @property
    def windows(self) -> int:
        """Of all calls, those that fill up the last one included."""
        return self.calls * self.size


@dataclass(frozen=True)
class Places:
    """The windows of one side in the order in which they run, and what of their outputs goes where.

    `batches`: of these windows, in their order; `top`, `left`: int64 (n,), LR pixels. `window`: int64 (N,), not
    decreasing, for each patch that they write the number of its window; `down`, `right`: int64 (N,), where it begins in
    that window, LR pixels; `row`, `col`: int64 (N,), its place in the image, counted in patches.
    """

    side: int
    batches: tuple[Batch, ...]
    top: Ints
    left: Ints
    window: Ints
    down: Ints
    right: Ints
    row: Ints
    col: Ints


def arrange(subnets: Ints, side: int, grid: Grid, batches: Sequence[Batch]) -> Places:
    """Bring the windows of one side in the order of their batches; the last window of a subnet fills up its last call,
    where it writes nothing more.

    Args:
        subnets: (squares,), which subnet runs on the window of each square, `NO_SUBNET` where there is none.
        side: patches along a window's side.
        grid: of the image.
        batches: of each subnet that runs, in order of their numbers, with room for all its windows.
    """
    squares = np.flatnonzero(subnets != NO_SUBNET)
    squares = squares[np.argsort(subnets[squares], kind="stable")]
    of_subnet = np.searchsorted([batch.subnet for batch in batches], subnets[squares])
    counts = np.bincount(of_subnet, minlength=len(batches))
    repeats = np.ones(len(squares), np.int64)
    repeats[np.cumsum(counts) - 1] += [batch.windows for batch in batches] - counts
    slot = np.empty(len(subnets), np.int64)
    slot[squares] = np.cumsum(repeats) - repeats
    filled = squares.repeat(repeats)
    patches = np.flatnonzero(subnets[grid.square[side]] != NO_SUBNET)
    window = slot[grid.square[side][patches]]
    order = np.argsort(window, kind="stable")
    patches = patches[order]
    return Places(
        side,
        tuple(batches),
        grid.top[side][filled],
        grid.left[side][filled],
        window[order],
        grid.down[side][patches],
        grid.right[side][patches],
        grid.row[patches],
        grid.col[patches],
    )


def cover(choice: Choice, prices: Mapping[int, Floats], multiple: int) -> Squares:
    """The cheapest windows for an image whose patches want these subnets.

    Args:
        choice: (rows, cols), the subnet of each patch, or `NO_SUBNET`.
        prices: by side, a power of two each: (M,), what a window costs whose dearest patch wants subnet m; infinite
            where there are no such windows.
        multiple: as for `Grid`.

    Returns:
        For each side, the subnet that the dearest patch of each of its windows wants.
    """
    rows, cols = (-(-length // multiple) * multiple for length in choice.shape)
    want = np.full((rows, cols), NO_SUBNET, np.int64)
    want[: choice.shape[0], : choice.shape[1]] = choice
    best, wants, side = _price(prices.get(1), want), {1: want}, 1
    joined = {1: np.ones(want.shape, np.bool_)}
    while side < max(prices):
        side *= 2
        quarters = want.reshape(want.shape[0] // 2, 2, want.shape[1] // 2, 2)
        want = wants[side] = quarters.max((1, 3))
        parts = best.reshape(quarters.shape).sum((1, 3))
        whole = _price(prices.get(side), want)
        joined[side] = whole < parts
        best = np.minimum(whole, parts)
    return _from_the_top(wants, joined)


def _price(prices: Floats | None, want: Choice) -> Floats:
    """What one window costs on each square."""
    if prices is None:
        return np.where(want == NO_SUBNET, 0.0, np.inf)
    return np.append(prices, 0.0)[want]  # number -1 is the last


def _from_the_top(wants: Mapping[int, Choice], joined: Mapping[int, NDArray[np.bool_]]) -> Squares:
    """The windows: squares that are joined, and not part of a larger one that is."""
    found: dict[int, Choice] = {}
    covered: NDArray[np.bool_] | None = None
    for side in sorted(wants, reverse=True):
        taken = joined[side] & (wants[side] != NO_SUBNET)
        if covered is not None:
            covered = covered.repeat(2, 0).repeat(2, 1)
            taken &= ~covered
        found[side] = np.where(taken, wants[side], NO_SUBNET)
        covered = taken if covered is None else covered | taken
    return found
