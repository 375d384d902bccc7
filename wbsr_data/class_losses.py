"""Running losses of the difficulty classes, and draws that follow them: the sampling `dda`.

DDA (IJCNN 2023) divides patches in classes of difficulty and draws by the running loss of each class; only its abstract
is public. Our reading: a training is cut in sections of `refresh` iterations. The loss of class k is the mean absolute
error of the outputs on its patches over a section, and its running loss

    l_k = (l_k of the section before + loss of this section) / 2

Classes are drawn with P_k in proportion to N_k·l_k (`samplings.by_loss`). A section follows the losses as they stood
one whole section before it began. So how far batches are read ahead, and by how many workers, changes no draw, and
a resumed training draws what it would have drawn: sections are numbered from the start of the training.

    iterations   1 .. R    R+1 .. 2R    2R+1 .. 3R    3R+1 .. 4R
    drawn by     uniform   uniform      l after R     l after 2R          R: refresh

Here is the bookkeeping, in the main process; `loss_meter.py` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wbsr_data.draws import DrawPlan

Losses = NDArray[np.float64]


class ClassLosses:
    """What each section of a training follows.

    Args:
        num_classes: K.
        refresh: R, iterations of a section.
        first: the section in which the training (re)starts; it and the next follow nothing, unless a state is restored.
    """

    def __init__(self, num_classes: int, refresh: int, first: int = 0) -> None:
        self.num_classes, self.refresh, self.first = num_classes, refresh, first
        self.running: Losses = np.full(num_classes, np.nan)
        self._followed: dict[int, Losses] = {}

    def update(self, sections: int, losses: ArrayLike) -> None:
        """Take in the losses of a section that has ended.

        Args:
            sections: how many sections have ended since the training began.
            losses: (K,) mean loss of each class; NaN for a class of which no patch was drawn, which keeps its own.
        """
        new = np.asarray(losses, dtype=np.float64)
        known = np.where(np.isnan(self.running), new, (self.running + new) / 2)
        self.running = np.where(np.isnan(new), self.running, known)
        self._followed = {section: old for section, old in self._followed.items() if section >= sections}
        self._followed[sections + 1] = self.running

    def followed(self, section: int) -> Losses | None:
        """The running losses (K,) that a section follows; None where it draws uniformly.

        A class without a loss yet gets the mean of the others.

        Raises:
            ValueError: they are not known: no model reports them, or batches are read too far ahead.
        """
        if section not in self._followed:
            if section <= self.first + 1:
                return None
            raise ValueError(
                f"sampling `dda` follows the losses of the model, but none were reported for iterations "
                f"{(section - 2) * self.refresh + 1} to {(section - 1) * self.refresh} before those from "
                f"{section * self.refresh + 1} on are drawn: train by `wbsr train`, or call follow(model) of the data "
                "set; if that is so, raise hes:refresh above the number of batches that are read ahead"
            )
        losses = self._followed[section]
        known = ~np.isnan(losses)
        return np.where(known, losses, losses[known].mean()) if known.any() else None

    def state(self) -> dict[str, Any]:
        """All of it in plain types."""
        followed = {section: losses.tolist() for section, losses in self._followed.items()}
        return {"refresh": self.refresh, "running": self.running.tolist(), "followed": followed}

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Go on from `state`, if it was made with the same R and K; returns whether it was."""
        if state["refresh"] != self.refresh or len(state["running"]) != self.num_classes:
            return False
        self.running = np.array(state["running"])
        self._followed = {section: np.array(losses) for section, losses in state["followed"].items()}
        return True


class FollowingPlan:
    """Maps draw number t to a candidate patch, section by section; each is planned when its first draw is asked for.

    Args:
        make_plan: from P_k (K,), or None for uniform drawing, to the plan of a training whose epochs are the sections.
        shares: from running losses to P_k.
        losses: what the sections follow.
        section_draws: draws of all ranks in one section.
    """

    def __init__(
        self,
        make_plan: Callable[[Losses | None], DrawPlan],
        shares: Callable[[Losses], Losses],
        losses: ClassLosses,
        section_draws: int,
    ) -> None:
        self.losses = losses
        self._make_plan, self._shares, self._section_draws = make_plan, shares, section_draws
        self._planned: tuple[int, Sequence[int] | NDArray[np.int32]] = (-1, ())

    def patch(self, t: int) -> int:
        """The candidate that draw t >= 0 takes.

        Raises:
            ValueError: the losses that its section follows are not known.
        """
        section, place = divmod(t, self._section_draws)
        if self._planned[0] != section:
            followed = self.losses.followed(section)
            plan = self._make_plan(None if followed is None else self._shares(followed))
            self._planned = (section, plan.epoch(section))
        return int(self._planned[1][place])


def least_refresh(workers: int, queue: int) -> int:
    """The fewest iterations of a section for which its losses are known in time.

    Args:
        workers: of the loader, each of which prepares two batches ahead.
        queue: batches that BasicSR's prefetching (`num_prefetch_queue`) holds.
    """
    return 2 * workers + queue + 3
