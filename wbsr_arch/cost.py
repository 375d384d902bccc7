"""What a network costs, by operators counted while it runs on `meta` tensors, so that nothing is computed.

Convention of the paper and of ClassSR and ARM: FLOPs = 2 x multiply-accumulates, for one LR patch of 32 x 32. torch's
counter knows convolutions and matrix products; biases, activations and pooling are not counted.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

REFERENCE_PATCH = 32


def count_flops(network: nn.Module, in_channels: int = 3, size: int = REFERENCE_PATCH) -> int:
    """FLOPs of `network` for one input of shape (1, in_channels, size, size)."""
    # A copy, for RCAN and EDSR overwrite their plain attribute `mean` with one of the input's device.
    network = copy.deepcopy(network).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, in_channels, size, size, device="meta"))
    return int(counter.get_total_flops())


def count_parameters(network: nn.Module) -> int:
    """Number of scalars in the parameters of `network`."""
    return sum(math.prod(parameter.shape) for parameter in network.parameters())
