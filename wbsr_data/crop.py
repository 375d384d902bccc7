"""What a draw cuts out of which image, and how it turns it: apart from the pixels, which whoever holds them fetches.

The crop of draw t depends on t, on the seed and on the index of candidates alone. Flips are BasicSR's augmentation,
each with probability 1/2, from a generator of the draw's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wbsr_base.images import Pixels
from wbsr_data.draws import Plan
from wbsr_data.patch_index import PatchIndex


@dataclass(frozen=True)
class Crop:
    """One patch: the number of its image, its upper left corner in LR pixels, and what is done to it, in this order.

    `hflip` swaps left and right, `vflip` top and bottom, `transpose` rows and columns.
    """

    image: int
    y: int
    x: int
    hflip: bool
    vflip: bool
    transpose: bool

    def cut(self, pixels: Pixels, size: int, scale: int = 1) -> Pixels:
        """The patch as a view.

        Args:
            pixels: (H, W, C), the LR image, or one `scale` times as large.
            size: of the patch in LR pixels.
            scale: of `pixels`.

        Returns:
            (scale·size, scale·size, C); less where the image ends before.
        """
        y, x, side = scale * self.y, scale * self.x, scale * size
        patch = pixels[y : y + side, x : x + side]
        if self.hflip:
            patch = patch[:, ::-1]
        if self.vflip:
            patch = patch[::-1]
        return patch.swapaxes(0, 1) if self.transpose else patch


@dataclass(frozen=True, eq=False)
class Crops:
    """Many crops as arrays, all (n,): int64 `image`, `y`, `x`; bool `hflip`, `vflip`, `transpose`."""

    image: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    hflip: NDArray[np.bool_]
    vflip: NDArray[np.bool_]
    transpose: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, place: int) -> Crop:
        return Crop(*(getattr(self, name)[place].item() for name in Crop.__dataclass_fields__))


class CropPlan:
    """Maps draw number t to its candidate, and to its crop.

    Args:
        index: the candidates.
        plan: which of them a draw takes.
        seed: of the flips, at least 0.
        hflip: whether patches are flipped left to right.
        rot: whether they are flipped top to bottom and transposed, which with `hflip` makes all eight orientations.
    """

    def __init__(self, index: PatchIndex, plan: Plan, seed: int, hflip: bool, rot: bool) -> None:
        self.index, self.plan = index, plan
        self._seed, self._flips = seed, np.array([hflip, rot, rot], dtype=bool)

    def crop(self, t: int, candidate: int | None = None) -> Crop:
        """The crop of draw t >= 0; of a `candidate` that is known already."""
        number = self.plan.patch(t) if candidate is None else candidate
        index = self.index
        return Crop(int(index.image[number]), int(index.y[number]), int(index.x[number]), *self._turns(t).tolist())

    def crops(self, ts: ArrayLike, candidates: NDArray[np.int32] | None = None) -> Crops:
        """The crops of draws (n,), whose `candidates` (n,) may be known already."""
        draws = np.asarray(ts, dtype=np.int64)
        numbers = self.plan.patches(draws) if candidates is None else candidates
        image, y, x = (column[numbers].astype(np.int64) for column in (self.index.image, self.index.y, self.index.x))
        hflip, vflip, transpose = np.array([self._turns(t) for t in draws.tolist()], dtype=bool).reshape(-1, 3).T
        return Crops(image, y, x, hflip, vflip, transpose)

    def _turns(self, t: int) -> NDArray[np.bool_]:
        """Of draw t: whether it is flipped left to right, top to bottom, and transposed."""
        turns: NDArray[np.bool_] = (np.random.default_rng((self._seed, t)).random(3) < 0.5) & self._flips
        return turns
