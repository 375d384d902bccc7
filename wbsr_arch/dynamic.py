"""What dynamic inference asks of a network: several networks of one job in it, from cheap to dear, each countable and
extractable. A `Supernet` holds them in one set of weights, `ClassSR` side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from wbsr_arch.cost import REFERENCE_PATCH, count_parameters, dry_run
from wbsr_arch.subnet import Subnet


class DynamicNetwork(nn.Module):
    """A family of networks, its *subnets*, of which the full one is the largest.

    A subclass builds its members and calls `_count`. `subnets` are in order of cost, cheapest first; `flops`, `work`,
    `calls` and `num_parameters` are by subnet: 2 x multiply-accumulates of one LR patch of 32 x 32, the same with
    output channels in whole vectors, the operators that they are of, and scalars. `output_layers` are the layers that
    make the members' output.
    """

    full: Subnet
    in_channels: int
    scale: int
    subnets: tuple[Subnet, ...]
    flops: dict[Subnet, int]
    work: dict[Subnet, float]
    calls: dict[Subnet, int]
    num_parameters: dict[Subnet, int]
    output_layers: tuple[nn.Module, ...]

    @property
    def router(self) -> nn.Module | None:
        """What chooses a subnet for a patch, if the network brings it along: from (N, C, h, w) to (N, M), a number for
        each subnet in order of cost; the highest is the choice."""
        return None

    @property
    def router_flops(self) -> int:
        """FLOPs of the router for one LR patch of 32 x 32; 0 without one."""
        return 0

    def forward(self, x: Tensor, subnet: Subnet | None = None) -> Any:
        """Upscale (N, C, H, W) to (N, C, scale H, scale W) by `subnet`, or by the full network if None."""
        raise NotImplementedError

    def extract(self, subnet: Subnet | None = None) -> nn.Module:
        """A plain network with its own weights, in evaluation mode, whose state dict is a stock checkpoint's."""
        raise NotImplementedError

    def slices(self, subnet: Subnet) -> dict[str, Tensor]:
        """The subnet's weights by the names that they have in its extracted network: views, not copies."""
        raise NotImplementedError

    def options(self, subnet: Subnet | None = None, multiple: int = 1) -> dict[str, Any]:
        """The BasicSR options by which `build_network` builds the subnet, or the full network, on its own, its width
        rounded up to a multiple of `multiple`."""
        raise NotImplementedError

    def share(self, subnet: Subnet) -> float:
        """The subnet's FLOPs as a share of the full network's, 0-1."""
        return self.flops[subnet] / self.flops[self.full]

    def _count(self, members: Mapping[Subnet, nn.Module], full: Subnet, in_channels: int) -> None:
        """Find scale, order and cost of the members, on whose layers nothing is computed."""
        counted = {subnet: dry_run(network, in_channels) for subnet, network in members.items()}
        self.full, self.in_channels = full, in_channels
        self.scale = counted[full].shape[-1] // REFERENCE_PATCH
        self.subnets = tuple(sorted(members, key=lambda subnet: (counted[subnet].flops, subnet)))
        self.flops = {subnet: counted[subnet].flops for subnet in self.subnets}
        self.work = {subnet: counted[subnet].work for subnet in self.subnets}
        self.calls = {subnet: counted[subnet].calls for subnet in self.subnets}
        self.num_parameters = {subnet: count_parameters(members[subnet]) for subnet in self.subnets}
        self.output_layers = tuple(
            network.get_submodule(counted[subnet].output_layer) for subnet, network in members.items()
        )

    def _known(self, subnet: Subnet | None) -> Subnet:
        """`subnet`, once it is known to be one; the full network for None."""
        if subnet is None:
            return self.full
        if subnet not in self.flops:
            known = ", ".join(map(str, self.subnets))
            raise ValueError(f"the network has no subnet {subnet}: its subnets are {known}")
        return subnet
