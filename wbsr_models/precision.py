"""How a subnet is made ready to run: memory layout, precision, compiler, self-ensemble."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

Precision = Literal["float32", "bf16", "fp16"]

_DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def dtype_of(precision: Precision) -> torch.dtype:
    """The type that `precision` names.

    Raises:
        ValueError: another name.
    """
    if precision not in _DTYPES:
        raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}")
    return _DTYPES[precision]


def ready(
    network: nn.Module, precision: Precision = "float32", compiled: bool = False, ensemble: bool = False
) -> nn.Module:
    """`network` for inference: channels-last, in `precision`, compiled for windows of any size if asked."""
    network = network.to(dtype_of(precision)).to(memory_format=torch.channels_last)
    if compiled:
        network.compile(dynamic=True)
    return SelfEnsemble(network) if ensemble else network


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
