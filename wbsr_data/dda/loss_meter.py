"""Measures the loss of each difficulty class while a model trains, from the outputs it has made anyway.

The loss of a patch is the mean absolute error of its output. Losses are summed on the model's device, over all ranks,
and read once a section.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed

from wbsr_data.dda.class_losses import ClassLosses


class LossMeter:
    """Sums the losses of each class, and hands them on at the end of each section.

    All ranks must measure the same number of steps: each adds up what all have measured.

    Args:
        losses: gets the mean losses.
    """

    def __init__(self, losses: ClassLosses) -> None:
        self.losses = losses
        self._totals = torch.zeros(2, losses.num_classes, dtype=torch.float64)  # losses, and patches

    def __getstate__(self) -> dict[str, Any]:
        """For a worker, which measures nothing and must not need the model's device."""
        return {**self.__dict__, "_totals": self._totals.cpu()}

    def measure(self, output: Tensor, gt: Tensor, difficulty: Tensor, iteration: int) -> None:
        """Take in one step.

        Args:
            output: (N, C, H, W).
            gt: the same.
            difficulty: (N,) classes 1..K. A patch whose output is not finite does not count.
            iteration: its number, from 1.
        """
        errors = (output.detach().double() - gt).abs().mean((1, 2, 3))
        finite = errors.isfinite()
        counted = torch.stack([errors.where(finite, 0.0), finite.double()])
        step = counted.new_zeros(2, self.losses.num_classes)
        step.index_add_(1, difficulty.to(errors.device, torch.int64) - 1, counted)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(step)
        self._totals = self._totals.to(step.device) + step
        if iteration % self.losses.refresh == 0:
            sums, patches = self._totals.cpu().numpy()
            means = sums / patches.clip(1)
            means[patches == 0] = float("nan")
            self.losses.update(iteration // self.losses.refresh, means)
            self._totals.zero_()

    def state(self) -> dict[str, Any]:
        """All of it in plain types, the same on all ranks."""
        return {**self.losses.state(), "totals": self._totals.tolist()}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from `state`; None, or one of other settings, is let be, and drawing starts uniformly."""
        if state is not None and self.losses.restore(state):
            self._totals = torch.tensor(state["totals"], dtype=torch.float64)
