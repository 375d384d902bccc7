"""A supernet: one set of weights, many networks (width x depth), without a slimmable layer written by hand.

A subnet is the backbone's architecture built with smaller arguments, the *skeleton*, whose parameter of any name is
the leading slice of the backbone's parameter of that name. The skeleton runs on views of the shared weights, so
autograd reaches them by itself. A leading slice passes through PixelShuffle (layout C, r, r) and through channel
attention unharmed. The paper's supernets have nine subnets (section 6 of its experiments).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from wbsr_arch import backbone as backbones
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_arch.family import build_family
from wbsr_arch.padding import round_up
from wbsr_arch.skeleton import Slot
from wbsr_arch.subnet import Subnet


class Supernet(DynamicNetwork):
    """Any BasicSR architecture with a width and a depth argument, as a family of weight-sharing subnets.

    Its state dict has the backbone's own keys: stock checkpoints load into it and its weights load into the stock
    architecture, both strictly.

    Args:
        backbone: the full network's BasicSR options, `{type: RCAN, num_feat: 64, ...}`.
        widths: increasing values of `width_arg`; the last is the backbone's own.
        depths: increasing values of `depth_arg`; the last is the backbone's own.
        width_arg: the backbone's argument that sets its channels.
        depth_arg: the backbone's argument that sets its blocks.

    Raises:
        ValueError: widths or depths that the backbone can't hold, or a backbone that can't be sliced.
    """

    _backbone: nn.Module

    def __init__(
        self,
        backbone: Mapping[str, Any],
        widths: Sequence[int],
        depths: Sequence[int],
        width_arg: str = "num_feat",
        depth_arg: str = "num_block",
    ) -> None:
        super().__init__()
        network = backbones.build(backbone)
        backbones.refuse_unsliceable(network)
        _check_arguments(backbone, widths, depths, width_arg, depth_arg)
        # The backbone's weights are this module's own, under the same names; the backbone itself is no child.
        self._modules, self._parameters, self._buffers = network._modules, network._parameters, network._buffers
        self.__dict__["_backbone"] = network
        self._options, self._width_arg, self._depth_arg = dict(backbone), width_arg, depth_arg
        family = build_family(backbone, network, widths, depths, width_arg, depth_arg)
        skeletons = {subnet: skeleton for subnet, (skeleton, _) in family.items()}
        full = Subnet(widths[-1], depths[-1])
        self._count({**skeletons, full: network}, full, int(backbone.get("num_in_ch", 3)))
        self._family = family

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> None:
        """Find what is wrong in the block `network_g` of an option file, as far as that needs no building.

        Raises:
            ValueError, TypeError: what the constructor would raise.
        """
        _check_arguments(**{key: value for key, value in options.items() if key != "type"})

    def forward(self, x: Tensor, subnet: Subnet | None = None) -> Tensor:
        """Upscale by `subnet`; see `DynamicNetwork`."""
        if subnet is None or subnet == self.full:
            large: Tensor = self._backbone(x)
            return large
        skeleton, slots = self._member(subnet)
        if skeleton.training != self.training:
            skeleton.train(self.training)
        try:
            for slot in slots:
                slot.holder[slot.key] = slot.slice()
            small: Tensor = skeleton(x)
        finally:
            for slot in slots:
                slot.holder[slot.key] = slot.blank
        return small

    def slices(self, subnet: Subnet) -> dict[str, Tensor]:
        """The subnet's weights by name: views into the shared ones, through which gradients flow."""
        return {slot.name: slot.slice() for slot in self._member(subnet)[1]}

    def skeleton(self, subnet: Subnet) -> nn.Module:
        """The subnet's architecture, to be called with its weights (`slices`) and not by itself: its own are on `meta`,
        but for the full network's, which is the backbone."""
        return self._backbone if subnet == self.full else self._member(subnet)[0]

    def extract(self, subnet: Subnet | None = None) -> nn.Module:
        """A plain network of the backbone's architecture with contiguous copies of the subnet's weights.

        It shares nothing with the supernet, is in evaluation mode, and its state dict is a stock checkpoint's.
        """
        subnet = subnet or self.full
        network = copy.deepcopy(self._member(subnet)[0])
        weights = {name: weight.detach().clone() for name, weight in self.slices(subnet).items()}
        network.load_state_dict(weights, strict=True, assign=True)
        return network.eval().requires_grad_(False)

    def options(self, subnet: Subnet | None = None, multiple: int = 1) -> dict[str, Any]:
        """BasicSR options of a subnet; see `DynamicNetwork`."""
        subnet = subnet or self.full
        arguments = {self._width_arg: round_up(subnet.width, multiple), self._depth_arg: subnet.depth}
        return {**copy.deepcopy(self._options), **arguments}

    def train(self, mode: bool = True) -> Supernet:
        super().train(mode)
        self._backbone.training = mode
        return self

    def _member(self, subnet: Subnet) -> tuple[nn.Module, list[Slot]]:
        return self._family[self._known(subnet)]


def _check_arguments(
    backbone: Mapping[str, Any],
    widths: Sequence[int],
    depths: Sequence[int],
    width_arg: str = "num_feat",
    depth_arg: str = "num_block",
) -> None:
    backbones.check(backbone)
    backbones.check_values("widths", widths, backbones.integer_argument(backbone, width_arg, "width_arg"), width_arg)
    backbones.check_values("depths", depths, backbones.integer_argument(backbone, depth_arg, "depth_arg"), depth_arg)
