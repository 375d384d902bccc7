"""Which patch each draw of a training takes: hierarchical equalization sampling as one deterministic plan.

A training is a row of draws t = 0, 1, ..., total-1 (iterations × batch × ranks). Draw t depends on the seed and on t
alone: not on workers, ranks, or on whether the training was resumed. Stages (paper, section 3.2):

    sample level   t < sample_level·total    every patch with P_i = 1/N
    class level    afterwards                class k with P_k (Eq. 8), its patches with P_k/N_k

`stage: ramp` moves from one to the other linearly, instead of in one step, over the same last part of the training.

Draws are computed an epoch of E at a time and stratified: a class gets its expected number of draws, rounded up or
down, and the draws of a class are spread evenly over its patches, one in each of as many equal intervals. A stage
boundary inside an epoch splits it in two parts, each stratified by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from wbsr_data.sampler import rank_draws

Stage = Literal["step", "ramp"]


class DrawPlan:
    """Maps draw number t to a candidate patch.

    Args:
        classes: (N,) class 1..K of each candidate. Candidates sorted by class cost no extra memory.
        probabilities: (K,) P_k, sums to 1; 0 for a class without candidates.
        epoch_draws: E, draws that are stratified together.
        total_draws: draws of the whole training; those beyond it continue as the last ones.
        sample_level: share of the training in the sample-level stage, in [0, 1].
        seed: at least 0.
        stage: `step` or `ramp`.

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
        stage: Stage = "step",
    ) -> None:
        labels = np.asarray(classes)
        self._shares = np.asarray(probabilities, dtype=np.float64)
        for name, value, least in (("epoch_draws", epoch_draws, 1), ("total_draws", total_draws, 0), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0 <= sample_level <= 1:
            raise ValueError(f"sample_level must be in [0, 1], got {sample_level}")
        if stage not in ("step", "ramp"):
            raise ValueError(f"stage must be one of step, ramp, got {stage!r}")
        if len(labels) == 0 or labels.min() < 1 or labels.max() > len(self._shares):
            raise ValueError(f"classes must hold at least one candidate, all in 1..{len(self._shares)}")
        counts = np.bincount(labels, minlength=len(self._shares) + 1)[1:]
        if abs(self._shares.sum() - 1) > 1e-6 or (self._shares < 0).any() or (self._shares[counts == 0] > 0).any():
            raise ValueError(f"probabilities must sum to 1 and be 0 for empty classes, got {self._shares.tolist()}")
        self.epoch_draws = epoch_draws
        self.total_draws = total_draws
        self.class_level_from = round(sample_level * total_draws) if sample_level < 1 else sys.maxsize
        self._seed = seed
        self._stage = stage
        self._counts = counts
        self._offsets = np.concatenate([[0], np.cumsum(counts)])
        in_order = bool((labels[1:] >= labels[:-1]).all())
        self._order = None if in_order else np.argsort(labels, kind="stable").astype(np.int32)
        self._cached: tuple[int, NDArray[np.int32]] | None = None

    def patch(self, t: int) -> int:
        """The candidate that draw t >= 0 takes."""
        epoch, place = divmod(t, self.epoch_draws)
        if self._cached is None or self._cached[0] != epoch:
            self._cached = (epoch, self.epoch(epoch))
        return int(self._cached[1][place])

    def epoch(self, epoch: int) -> NDArray[np.int32]:
        """The candidates of the draws [epoch·E, (epoch+1)·E) in order.

        Returns:
            int32 (E,), in 0..N-1.

        Raises:
            ValueError: a negative epoch.
        """
        if epoch < 0:
            raise ValueError(f"epoch must be at least 0, got {epoch}")
        start = epoch * self.epoch_draws
        uniform = min(max(self.class_level_from - start, 0), self.epoch_draws)
        parts = [
            self._part(epoch, 0, uniform, 0.0),
            self._part(
                epoch, 1, self.epoch_draws - uniform, self.class_weight(start + (uniform + self.epoch_draws) // 2)
            ),
        ]
        return np.concatenate(parts)

    def class_weight(self, t: int) -> float:
        """How far draw t is from uniform (0) to the class probabilities (1)."""
        if t < self.class_level_from:
            return 0.0
        if self._stage == "step" or t >= self.total_draws:
            return 1.0
        return (t - self.class_level_from) / (self.total_draws - self.class_level_from)

    def _part(self, epoch: int, stage: int, draws: int, weight: float) -> NDArray[np.int32]:
        """`draws` stratified draws, shuffled."""
        rng = np.random.default_rng((self._seed, epoch, stage))
        shares = weight * self._shares + (1 - weight) * self._counts / self._counts.sum()
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


class HESSampler(Sampler[int]):
    """The plan as a plain sampler, for training loops without BasicSR: yields candidate numbers for one rank.

    Call `set_epoch` before each epoch, as with PyTorch's `DistributedSampler`: it also moves the stage on.

    Args:
        plan: what is drawn; its E must be a multiple of `world_size`.
        rank: this process, in 0..world_size-1.
        world_size: number of processes.

    Raises:
        ValueError: E is no multiple of `world_size`, or a rank out of range.
    """

    def __init__(self, plan: DrawPlan, rank: int = 0, world_size: int = 1) -> None:
        self._plan = plan
        self._draws = rank_draws(plan.epoch_draws, rank, world_size)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the next iteration yields."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._draws)

    def __iter__(self) -> Iterator[int]:
        drawn = self._plan.epoch(self._epoch)
        return iter(drawn[self._draws].tolist())
