"""`arm`: ARM's rule (Chen et al., ECCV 2022), by the edge table (`edge_table.py` has the mathematics)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wbsr_arch.subnet import Subnet
from wbsr_models.routing.edge_table import EdgeTable, route_by_edge
from wbsr_models.routing.policy import Choose, Policy
from wbsr_models.routing.profile import Profile

if TYPE_CHECKING:
    from torch import Tensor

    from wbsr_arch.dynamic import DynamicNetwork


@dataclass(frozen=True)
class Arm(Policy):
    """The best of η times the PSNR that a patch's edges let expect, less the cost; it may choose interpolation.

    Args:
        eta: η, what one dB of a patch is worth as a share of the full network's cost, at least 0, such as 0.5.

    Raises:
        ValueError: a number out of its range.
    """

    name: ClassVar[str] = "arm"
    knob: ClassVar[str | None] = "eta"

    eta: float

    def __post_init__(self) -> None:
        if not (self.eta >= 0 and math.isfinite(self.eta)):
            raise ValueError(f"eta must be at least 0 and finite, got {self.eta}")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("edge_table",)

    def scores(self, network: DynamicNetwork, lr: Tensor, patch_size: int, stride: int) -> Tensor:
        """Edge scores, (rows, cols)."""
        from wbsr_data.edge import edge_score

        return edge_score(lr, patch_size, stride)

    def chooser(self, subnets: Sequence[Subnet], costs: Sequence[float], profile: Profile) -> Choose:
        self.check_profile(profile)
        table = profile.edge_table or EdgeTable((), ())
        return lambda scores: route_by_edge(scores, table, costs, self.eta)
