"""How a subnet is made ready to run: memory layout, precision, compiler, self-ensemble."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wbsr_base.precision import dtype_of


def ready(network: nn.Module, precision: str = "fp32", compiled: bool = False) -> nn.Module:
    """`network` for inference: channels-last, in `precision`, compiled for windows of any size if asked."""
    network = network.to(dtype_of(precision)).to(memory_format=torch.channels_last)
    if compiled:
        network.compile(dynamic=True)
    return network


class SelfEnsemble(nn.Module):
    """The mean over the eight flips and turns of the input, each turned back: x8 of the time, for a little quality."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, scale H, scale W)."""
        total = torch.zeros((), device=x.device)
        for turn in range(4):
            for flip in (False, True):
                turned = torch.rot90(x.flip(-1) if flip else x, turn, (-2, -1))
                output = torch.rot90(
                    self.network(turned.contiguous(memory_format=torch.channels_last)), -turn, (-2, -1)
                )
                total = total + (output.flip(-1) if flip else output)
        return total / 8
