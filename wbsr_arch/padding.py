"""Widths rounded up by channels of zeros, which change nothing.

In half precision a GPU multiplies whole blocks of eight channels at once; 36 or 52 channels fall back to slower ways,
so that 40 and 56 take two thirds of their time. A channel whose weights and bias are zero stays zero through
convolutions, activations that keep zero, pooling, channel attention and PixelShuffle, and adds nothing to what reads
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from wbsr_arch.masking import is_leading_slice
from wbsr_arch.skeleton import build_skeleton, leading


def round_up(width: int, multiple: int) -> int:
    """The least multiple that is not below `width`."""
    return -(-width // multiple) * multiple


@torch.no_grad()
def pad_widths(network: nn.Module, options: Mapping[str, Any]) -> nn.Module:
    """A wider network that computes what `network` does: its weights are the leading slices, zeros the rest.

    Args:
        network: a plain network, such as `DynamicNetwork.extract` gives.
        options: by which `build_network` builds the wider one, such as `DynamicNetwork.options(subnet, multiple=8)`.

    Returns:
        The wider network, in evaluation mode, with weights of its own, of the type and on the device of those of
        `network`; or `network` itself where it is as wide already, or where zeros would change what it computes (see
        `masking.py`).
    """
    weights, wide = network.state_dict(), build_skeleton(options)
    if all(weights[name].shape == blank.shape for name, blank in wide.state_dict().items()):
        return network
    if not is_leading_slice(network, wide, int(options.get("num_in_ch", 3))):
        return network
    padded = {name: weights[name].new_zeros(blank.shape) for name, blank in wide.state_dict().items()}
    for name, weight in weights.items():
        leading(padded[name], weight.shape).copy_(weight)
    wide.load_state_dict(padded, strict=True, assign=True)
    return wide.eval().requires_grad_(False)
