"""`classsr`: the network's own classifier says which subnet a patch gets; `wbsr_arch.ClassSR` has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wbsr_arch.subnet import Subnet
from wbsr_models.routing.policy import Choose, Policy
from wbsr_models.routing.profile import Profile

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wbsr_arch.dynamic import DynamicNetwork

_BATCH = 256  # patches


@dataclass(frozen=True)
class Classifier(Policy):
    """By the classifier that the network brings along."""

    name: ClassVar[str] = "classsr"

    def scores(self, network: DynamicNetwork, lr: Tensor, patch_size: int, stride: int) -> Tensor:
        """What the classifier says, (rows, cols, M).

        Raises:
            ValueError: the network has none.
        """
        return ask(_router(network), lr, patch_size, stride)

    def chooser(self, subnets: Sequence[Subnet], costs: Sequence[float], profile: Profile) -> Choose:
        return lambda logits: logits.argmax(-1)

    def own_share(self, network: DynamicNetwork) -> float:
        _router(network)
        return network.router_flops / network.flops[network.full]


def _router(network: DynamicNetwork) -> nn.Module:
    if network.router is None:
        raise ValueError(
            "routing `classsr` needs the classifier of a network of type ClassSR, which this one is not: use `paper`, "
            "`budget` or `full`"
        )
    return network.router


def ask(router: nn.Module, lr: Tensor, patch_size: int, stride: int) -> Tensor:
    """What a router says of each patch of an image, asked in batches.

    Args:
        router: from (N, C, h, w) to (N, M).
        lr: (C, H, W), range 0-1, on the router's device.
        patch_size: side of the square patches in LR pixels.
        stride: distance between patches in LR pixels; positions: `patch_positions`, so the last patch of a row or
            column lies within the image. A side shorter than a patch is one patch.

    Returns:
        float32 (rows, cols, M), on the router's device.
    """
    import torch

    from wbsr_base.pixels.windows import cut
    from wbsr_data.gradient import patch_positions

    rows, cols = (patch_positions(side, patch_size, stride, lr.device) for side in lr.shape[-2:])
    height, width = (min(side, patch_size) for side in lr.shape[-2:])
    tops, lefts = (torch.split(side.flatten(), _BATCH) for side in torch.meshgrid(rows, cols, indexing="ij"))
    with torch.no_grad():
        parts = [router(cut(lr, y, x, height, width).float()) for y, x in zip(tops, lefts, strict=True)]
    return torch.cat(parts).reshape(len(rows), len(cols), -1)
