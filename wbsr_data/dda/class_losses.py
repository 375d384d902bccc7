"""The running losses of the difficulty classes, and which of them each section of a training follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
            ValueError: they are not known: nobody reports them, or batches are read too far ahead.
        """
        if section not in self._followed:
            if section <= self.first + 1:
                return None
            raise ValueError(
                f"DDA follows the losses of the model, but none were reported for iterations "
                f"{(section - 2) * self.refresh + 1} to {(section - 1) * self.refresh} before those from "
                f"{section * self.refresh + 1} on are drawn: train by `wbsr train`, or call observe(...) of the data "
                "set after each step; if that is so, raise hes:refresh above the number of batches that are read ahead"
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
