"""ClassSR (Kong et al., CVPR 2021) as an architecture: independent branches of a backbone, and what chooses among them.

The branches are the backbone at several widths, each with weights of its own; the paper has three, of 36, 52 and 64
channels for SRResNet and 36, 50 and 64 for RCAN. A classifier tells from the LR pixels of a patch which branch it
needs. Only facts are from the paper and its authors' repository, whose code has no licence: no line of it is used.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wbsr_arch import backbone as backbones
from wbsr_arch.classifier import PatchClassifier
from wbsr_arch.cost import count_flops
from wbsr_arch.dynamic import DynamicNetwork
from wbsr_arch.padding import round_up
from wbsr_arch.subnet import Subnet


class ClassSR(DynamicNetwork):
    """Independent branches of a BasicSR architecture, and a classifier of patches.

    A branch is called by its width and the backbone's depth, such as `w36d16`, as a supernet's subnet is.

    Args:
        backbone: the widest branch's BasicSR options, `{type: RCAN, num_feat: 64, ...}`.
        widths: increasing values of `width_arg`, two at least; the last is the backbone's own.
        width_arg: the backbone's argument that sets its channels.
        depth_arg: the backbone's argument that sets its blocks; it stays as it is and is part of the branches' names.

    Raises:
        ValueError: widths that the backbone can't have, or fewer than two.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        widths: Sequence[int],
        width_arg: str = "num_feat",
        depth_arg: str = "num_block",
    ) -> None:
        super().__init__()
        depth = _check_arguments(backbone, widths, width_arg, depth_arg)
        self._options, self._width_arg = copy.deepcopy(dict(backbone)), width_arg
        built = {Subnet(width, depth): backbones.build({**backbone, width_arg: width}) for width in widths}
        self._count(built, Subnet(widths[-1], depth), int(backbone.get("num_in_ch", 3)))
        self.branches = nn.ModuleList(built[subnet] for subnet in self.subnets)
        self.classifier = PatchClassifier(len(widths), self.in_channels)

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> None:
        """Find what is wrong in the block `network_g` of an option file, as far as that needs no building.

        Raises:
            ValueError, TypeError: what the constructor would raise.
        """
        _check_arguments(**{key: value for key, value in options.items() if key != "type"})

    @property
    def router(self) -> nn.Module:
        return self.classifier

    @property
    def router_flops(self) -> int:
        return count_flops(self.classifier, self.in_channels)

    def forward(
        self, x: Tensor, subnet: Subnet | None = None, classes: Tensor | None = None, mixed: bool = False
    ) -> Any:
        """Upscale (N, C, H, W) to (N, C, scale H, scale W).

        Args:
            x: LR images or patches, range 0-1.
            subnet: the branch that upscales all of them; None is the widest.
            classes: (N,) in 1..B; each patch is upscaled by the branch of its class instead.
            mixed: whether to run all branches instead, and weigh their outputs by the classifier's probabilities.

        Returns:
            The output; with `mixed` also the probabilities (N, B), in order of cost.
        """
        if mixed:
            return self._mix(x)
        if classes is not None:
            return self._by_class(x, classes)
        return self.branches[self.subnets.index(self._known(subnet))](x)

    def extract(self, subnet: Subnet | None = None) -> nn.Module:
        """A copy of a branch; see `DynamicNetwork`."""
        branch = self.branches[self.subnets.index(self._known(subnet))]
        return copy.deepcopy(branch).eval().requires_grad_(False)

    def slices(self, subnet: Subnet) -> dict[str, Tensor]:
        """A branch's weights by name; see `DynamicNetwork`."""
        return dict(self.branches[self.subnets.index(self._known(subnet))].state_dict())

    def options(self, subnet: Subnet | None = None, multiple: int = 1) -> dict[str, Any]:
        """A branch's BasicSR options; see `DynamicNetwork`."""
        return {**copy.deepcopy(self._options), self._width_arg: round_up(self._known(subnet).width, multiple)}

    def _mix(self, x: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = self.classifier(x).softmax(1)
        weights = probabilities.view(*probabilities.shape, 1, 1, 1).unbind(1)
        outputs = [weight * branch(x) for weight, branch in zip(weights, self.branches, strict=True)]
        return torch.stack(outputs).sum(0), probabilities

    def _by_class(self, x: Tensor, classes: Tensor) -> Tensor:
        groups = [torch.nonzero(classes == number).flatten() for number in range(1, len(self.branches) + 1)]
        outputs = [branch(x[group]) for branch, group in zip(self.branches, groups, strict=True) if len(group)]
        return torch.cat(outputs)[torch.cat(groups).argsort()]


def _check_arguments(
    backbone: Mapping[str, Any], widths: Sequence[int], width_arg: str = "num_feat", depth_arg: str = "num_block"
) -> int:
    """Check the constructor's arguments, and return the backbone's depth."""
    backbones.check(backbone)
    backbones.check_values("widths", widths, backbones.integer_argument(backbone, width_arg, "width_arg"), width_arg)
    if len(widths) < 2:
        raise ValueError(f"widths must name two branches at least, got {list(widths)}: add a smaller width in front")
    return backbones.integer_argument(backbone, depth_arg, "depth_arg")
