"""The paper's policies: `paper` looks the subnet of a difficulty class up (Eq. 15), `eq16` goes by cost (Eq. 16)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wbsr_arch.subnet import Subnet
from wbsr_data.difficulty import classify
from wbsr_models.routing.equations import route_by_class, route_by_cost
from wbsr_models.routing.policy import Choose, Policy
from wbsr_models.routing.profile import Profile


@dataclass(frozen=True)
class Paper(Policy):
    """Eq. 15: the subnet by the difficulty class, m = ⌈k·M/K⌉."""

    name: ClassVar[str] = "paper"

    @property
    def needs(self) -> tuple[str, ...]:
        return ("thresholds",)

    def chooser(self, subnets: Sequence[Subnet], costs: Sequence[float], profile: Profile) -> Choose:
        self.check_profile(profile)
        bounds, by_cost = profile.thresholds or (), np.argsort(costs, kind="stable")
        return lambda scores: by_cost[route_by_class(classify(scores, bounds), len(bounds) + 1, len(costs))]


@dataclass(frozen=True)
class Eq16(Policy):
    """Eq. 16 as we read it: the cost nearest to what the class deserves.

    Args:
        budget: C_t, the cost granted to the hardest class at α = 1, as a share of the full network's, in (0, 1].
        alpha: α, above 0; more spends more.

    Raises:
        ValueError: a number out of its range.
    """

    name: ClassVar[str] = "eq16"

    budget: float = 1.0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_budget(self.budget)
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise ValueError(f"alpha must be above 0, got {self.alpha}")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("thresholds",)

    @property
    def point(self) -> dict[str, float]:
        return {"budget": self.budget}

    def chooser(self, subnets: Sequence[Subnet], costs: Sequence[float], profile: Profile) -> Choose:
        self.check_profile(profile)
        bounds = profile.thresholds or ()
        return lambda scores: route_by_cost(classify(scores, bounds), len(bounds) + 1, costs, self.budget, self.alpha)


def check_budget(budget: float) -> None:
    """Refuse what is no share of the full network's cost.

    Raises:
        ValueError: it is not in (0, 1].
    """
    if not 0 < budget <= 1:
        raise ValueError(f"budget must be in (0, 1], a share of the full network's cost, got {budget}")
