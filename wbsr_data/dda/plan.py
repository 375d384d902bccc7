"""From the losses of the classes to draws: their shares, and a plan that follows them section by section."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wbsr_data.dda.class_losses import ClassLosses, Losses
from wbsr_data.dda.options import DDAOptions
from wbsr_data.difficulty import bounded
from wbsr_data.draws import DrawPlan, Plan
from wbsr_data.patch_index import PatchIndex
from wbsr_data.sampler import Course


def shares_by_loss(counts: NDArray[np.int64], losses: Losses | None, max_repeat: float) -> NDArray[np.float64]:
    """P_k = N_k·l_k / Σ_j N_j·l_j, bounded: a patch is drawn in proportion to the running loss of its class.

    Args:
        counts: (K,) patches N_k of each class.
        losses: (K,) running losses l_k; None is uniform drawing, as is a loss of 0 everywhere.
        max_repeat: no patch is drawn more than this many times as often as under uniform drawing.

    Returns:
        (K,), sums to 1.
    """
    uniform: NDArray[np.float64] = counts / counts.sum()
    if losses is None or (counts * losses).sum() == 0:
        return uniform
    weights = counts * losses
    return bounded(weights / weights.sum(), max_repeat * counts / counts.sum())


class FollowingPlan(Plan):
    """Maps draw number t to a candidate; its epochs are the sections, each planned when its first draw is asked for.

    Args:
        index: the candidates.
        losses: what the sections follow.
        options: `refresh`, the bound and the uniform stage.
        course: of the training.
        seed: of the draws.
    """

    def __init__(self, index: PatchIndex, losses: ClassLosses, options: DDAOptions, course: Course, seed: int) -> None:
        super().__init__(options.refresh * course.step_draws)
        self._index, self._losses, self._options = index, losses, options
        self._total_draws, self._seed = course.total_draws, seed

    def epoch(self, epoch: int) -> NDArray[np.int32]:
        """The candidates of a section's draws in order.

        Raises:
            ValueError: the losses that it follows are not known.
        """
        try:
            losses = self._losses.followed(epoch)
        except ValueError:
            if epoch * self.epoch_draws < self._total_draws:
                raise
            losses = None  # BasicSR begins one more epoch than it needs, whose draws nobody trains on
        shares = shares_by_loss(self._index.counts, losses, self._options.max_repeat)
        level, classes = self._options.sample_level, self._index.difficulty
        return DrawPlan(classes, shares, self.epoch_draws, self._total_draws, level, self._seed).epoch(epoch)
