"""One subnet everywhere, whatever a patch is like: `full`, or a subnet's name, such as `w36d4`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from wbsr_arch.subnet import Subnet
from wbsr_models.routing.policy import Choose, Policy
from wbsr_models.routing.profile import Profile

if TYPE_CHECKING:
    from torch import Tensor

    from wbsr_arch.dynamic import DynamicNetwork


@dataclass(frozen=True)
class Fixed(Policy):
    """One subnet for all patches, by default the full network.

    Args:
        subnet: its name, such as `w36d4`; the full network where none is given.

    Raises:
        ValueError: no subnet's name.
    """

    name: ClassVar[str] = "full"
    knob: ClassVar[str | None] = "subnet"

    subnet: str | None = None

    def __post_init__(self) -> None:
        if self.subnet is not None:
            Subnet.parse(self.subnet)

    @property
    def mode(self) -> str:
        return self.subnet or self.name

    def scores(self, network: DynamicNetwork, lr: Tensor, patch_size: int, stride: int) -> Tensor:
        """Zeros, since nothing is looked at."""
        import torch

        from wbsr_data.gradient import patch_positions

        rows, cols = (len(patch_positions(length, patch_size, stride)) for length in lr.shape[-2:])
        return torch.zeros(rows, cols)

    def chooser(self, subnets: Sequence[Subnet], costs: Sequence[float], profile: Profile) -> Choose:
        number = len(subnets) - 1 if self.subnet is None else _number(Subnet.parse(self.subnet), subnets)
        return lambda scores: np.full(scores.shape, number, dtype=np.int64)


def _number(subnet: Subnet, subnets: Sequence[Subnet]) -> int:
    if subnet not in subnets:
        raise ValueError(f"routing to one subnet must name one of {', '.join(map(str, subnets))}, got {str(subnet)!r}")
    return subnets.index(subnet)
