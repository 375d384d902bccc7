"""Which patch each draw of a training takes: hierarchical equalization sampling as one deterministic plan.

A training is a row of draws t = 0, 1, ..., total-1 (iterations × batch × ranks). Draw t depends on the seed and on t
alone: not on workers, ranks, or on whether the training was resumed. Stages (paper, section 3.2):

    sample level   t < sample_level·total    every patch with P_i = 1/N
    class level    afterwards                class k with P_k (Eq. 8), its patches with P_k/N_k

Draws are computed an epoch of E at a time and stratified: a class gets its expected number of draws, rounded up or
down, and the draws of a class are spread evenly over its patches, one in each of as many equal intervals. A stage
boundary inside an epoch splits it in two parts, each stratified by itself.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Plan(ABC):
    """Maps draw number t to a candidate patch.

    Args:
        epoch_draws: E, draws that are planned together; those that were asked for last are kept.
    """

    def __init__(self, epoch_draws: int) -> None:
        self.epoch_draws = epoch_draws
        self._kept: tuple[int, NDArray[np.int32]] | None = None

    @abstractmethod
    def epoch(self, epoch: int) -> NDArray[np.int32]:
        """int32 (E,): the candidates of the draws [epoch·E, (epoch+1)·E) in order."""

    def patch(self, t: int) -> int:
        """The candidate that draw t >= 0 takes."""
        epoch, place = divmod(t, self.epoch_draws)
        return int(self._planned(epoch)[place])

    def patches(self, ts: ArrayLike) -> NDArray[np.int32]:
        """The candidates (n,) that draws (n,) take."""
        epochs, places = np.divmod(np.asarray(ts, dtype=np.int64), self.epoch_draws)
        found = np.empty(len(places), np.int32)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            found[here] = self._planned(epoch)[places[here]]
        return found

    def _planned(self, epoch: int) -> NDArray[np.int32]:
        if self._kept is None or self._kept[0] != epoch:
            self._kept = (epoch, self.epoch(epoch))
        return self._kept[1]


class DrawPlan(Plan):
    """Uniform drawing, then by class.

    Args:
        classes: (N,) class 1..K of each candidate. Candidates sorted by class cost no extra memory.
        probabilities: (K,) P_k, sums to 1; 0 for a class without candidates.
        epoch_draws: E, draws that are stratified together.
        total_draws: draws of the whole training; those beyond it continue as the last ones.
        sample_level: share of the training in the sample-level stage, in [0, 1].
        seed: at least 0.

    Raises:
        ValueError: no candidates, a class out of 1..K, or a number out of its range.
    """

    def __init__(
        self,
        classes: ArrayLike,
        probabilities: ArrayLike,
        epoch_draws: int,
        total_draws: int,
        sample_level: float = 0.7,
        seed: int = 0,
    ) -> None:
        super().__init__(epoch_draws)
        labels = np.asarray(classes)
        self._shares = np.asarray(probabilities, dtype=np.float64)
        for name, value, least in (("epoch_draws", epoch_draws, 1), ("total_draws", total_draws, 0), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0 <= sample_level <= 1:
            raise ValueError(f"sample_level must be in [0, 1], got {sample_level}")
        if len(labels) == 0 or labels.min() < 1 or labels.max() > len(self._shares):
            raise ValueError(f"classes must hold at least one candidate, all in 1..{len(self._shares)}")
        counts = np.bincount(labels, minlength=len(self._shares) + 1)[1:]
        if abs(self._shares.sum() - 1) > 1e-6 or (self._shares < 0).any() or (self._shares[counts == 0] > 0).any():
            raise ValueError(f"probabilities must sum to 1 and be 0 for empty classes, got {self._shares.tolist()}")
        self.class_level_from = round(sample_level * total_draws) if sample_level < 1 else sys.maxsize
        self._seed = seed
        self._counts = counts
        self._offsets = np.concatenate([[0], np.cumsum(counts)])
        in_order = bool((labels[1:] >= labels[:-1]).all())
        self._order = None if in_order else np.argsort(labels, kind="stable").astype(np.int32)

    def epoch(self, epoch: int) -> NDArray[np.int32]:
        """The candidates of the draws [epoch·E, (epoch+1)·E) in order.

        Returns:
            int32 (E,), in 0..N-1.

        Raises:
            ValueError: a negative epoch.
        """
        if epoch < 0:
            raise ValueError(f"epoch must be at least 0, got {epoch}")
        uniform = min(max(self.class_level_from - epoch * self.epoch_draws, 0), self.epoch_draws)
        return np.concatenate(
            [
                self._part((self._seed, epoch, 0), uniform, self._counts / self._counts.sum()),
                self._part((self._seed, epoch, 1), self.epoch_draws - uniform, self._shares),
            ]
        )

    def _part(self, seed: tuple[int, int, int], draws: int, shares: NDArray[np.float64]) -> NDArray[np.int32]:
        """`draws` stratified draws, shuffled."""
        rng = np.random.default_rng(seed)
        running = np.cumsum(shares)
        running /= running[-1]  # exactly 1 from the last filled class on
        ends = np.floor(running * draws + rng.random()).astype(np.int64).clip(max=draws)
        quota = np.diff(ends, prepend=0)
        places = [
            offset + ((np.arange(m) + rng.random(m)) * (count / max(m, 1))).astype(np.int64).clip(max=count - 1)
            for offset, count, m in zip(self._offsets, self._counts, quota, strict=False)
        ]
        drawn = rng.permutation(np.concatenate(places)).astype(np.int32)
        return drawn if self._order is None else self._order[drawn]
