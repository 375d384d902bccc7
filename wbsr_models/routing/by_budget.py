"""`budget`: the least expected error at a mean cost, by the checkpoint's error table (`budget.py` has the mathematics).

Where a checkpoint has no error table, Eq. 16 spends it, with the α that just keeps the budget.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from wbsr_arch.subnet import Subnet
from wbsr_data.difficulty import classify
from wbsr_models.routing.budget import allocate, in_proportion, steps_by_class, steps_by_error
from wbsr_models.routing.by_class import check_budget
from wbsr_models.routing.choice import Choice, Scores
from wbsr_models.routing.equations import route_by_allocation
from wbsr_models.routing.policy import Choose, Policy
from wbsr_models.routing.profile import Profile

_SET = 10**6  # patches of an imagined set, whose classes have the known shares

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


@dataclass(frozen=True)
class Budget(Policy):
    """The least expected error at a mean cost.

    Args:
        budget: the mean cost, as a share of the full network's, in (0, 1], such as 0.6.
        budget_over: what the budget is kept over: every `image`, or the mean of a `set` of images whose classes are as
            frequent as in calibration; then an image of more texture gets more, which serves the set better.

    Raises:
        ValueError: a number out of its range.
    """

    name: ClassVar[str] = "budget"
    knob: ClassVar[str | None] = "budget"
    on_a_curve: ClassVar[Mapping[str, Any]] = {"budget_over": "set"}

    budget: float
    budget_over: Literal["image", "set"] = "image"

    def __post_init__(self) -> None:
        check_budget(self.budget)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("thresholds", "class_shares") if self.budget_over == "set" else ("thresholds",)

    @property
    def budget_in_time(self) -> float | None:
        return self.budget if self.cost == "latency" and self.budget_over == "image" else None

    def for_one_image(self) -> Budget:
        return replace(self, budget_over="image")

    def chooser(self, subnets: Sequence[Subnet], costs: Sequence[float], profile: Profile) -> Choose:
        self.check_profile(profile)
        if self.budget < min(costs):
            least = f"{min(costs):.4f}, the cheapest subnet's share"
            raise ValueError(f"budget must be at least {least}, got {self.budget}")
        bounds = profile.thresholds or ()
        num_classes = len(bounds) + 1
        if profile.error_table is None:
            _warn_once(
                "The weights have no error table, so the budget is spent by Eq. 16; `wbsr calibrate` measures the "
                "table, and the same budget then gives more quality."
            )
            steps = steps_by_class(num_classes, costs)
        else:
            steps = steps_by_error(profile.error_table, costs)
        whole = None
        if self.budget_over == "set":
            whole = allocate(np.maximum(np.rint(_SET * np.array(profile.class_shares)), 1), steps, costs, self.budget)

        def spend(scores: Scores) -> Choice:
            classes = classify(scores, bounds)
            counts = np.bincount(classes.ravel(), minlength=num_classes + 1)[1:]
            spent = allocate(counts, steps, costs, self.budget) if whole is None else in_proportion(counts, whole)
            return route_by_allocation(scores, classes, spent, costs)

        return spend


@functools.cache
def _warn_once(message: str) -> None:
    _logger.warning(message)
