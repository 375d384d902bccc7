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

from collections.abc import Mapping
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


@dataclass(frozen=True)
class Places:
    """Where windows of one shape lie and what of their outputs goes where, in the order of the windows.

    `windows`: int64 (2, n), top and left of each, LR pixels. `patches`: int64 (5, N), for each patch that they write:
    the number of its window, counted from 0, where it begins in that window, down and across in LR pixels, and its row
    and column in the image, counted in patches.
    """

    windows: Ints
    patches: Ints


def cover(choice: Choice, prices: Mapping[int, Floats]) -> Squares:
    """The cheapest windows for an image whose patches want these subnets.

    Args:
        choice: (rows, cols), the subnet of each patch, or `NO_SUBNET`.
        prices: by side, a power of two each: (M,), what a window costs whose dearest patch wants subnet m; infinite
            where there are no such windows.

    Returns:
        For each side, the subnet that the dearest patch of each of its windows wants.
    """
    largest = max(prices)
    rows, cols = (-(-length // largest) * largest for length in choice.shape)
    want = np.full((rows, cols), NO_SUBNET, np.int64)
    want[: choice.shape[0], : choice.shape[1]] = choice
    best, wants, side = _price(prices.get(1), want), {1: want}, 1
    joined = {1: np.ones(want.shape, np.bool_)}
    while side < largest:
        side *= 2
        quarters = want.reshape(want.shape[0] // 2, 2, want.shape[1] // 2, 2)
        want = wants[side] = quarters.max((1, 3))
        parts = best.reshape(quarters.shape).sum((1, 3))
        whole = _price(prices.get(side), want)
        joined[side] = whole < parts
        best = np.minimum(whole, parts)
    return _from_the_top(wants, joined)


def places(numbers: Ints, across: int, side: int, layout: Layout, fill: int) -> Places:
    """Windows of one side, and the patches that they write.

    Args:
        numbers: which squares of this side are windows, counted from left to right and from top to bottom.
        across: how many squares there are from left to right.
        side: patches along a window's side.
        layout: of the image.
        fill: how many windows there shall be; the last is repeated, and the repetitions write nothing.
    """
    height, width = layout.window(side)
    down, right = np.divmod(numbers, across)
    step = side * layout.patch_size
    top = np.clip(down * step - layout.halo, 0, layout.height - height)
    left = np.clip(right * step - layout.halo, 0, layout.width - width)
    inner = np.arange(side)
    row, col, which = np.broadcast_arrays(
        (down[:, None] * side + inner)[:, :, None],
        (right[:, None] * side + inner)[:, None, :],
        np.arange(len(numbers))[:, None, None],
    )
    inside = (row < layout.rows) & (col < layout.cols)
    row, col, which = row[inside], col[inside], which[inside]
    begins = row * layout.patch_size - top[which], col * layout.patch_size - left[which]
    windows = np.stack([top, left])
    if fill > len(numbers):
        windows = np.concatenate([windows, np.repeat(windows[:, -1:], fill - len(numbers), axis=1)], axis=1)
    return Places(windows, np.stack([which, *begins, row, col]))


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
