"""What a network is like to its users, found by running it: how far it looks, and what half precision does to it.

A network that looks a known number of pixels far can be run in tiles without any error, if their halo is as wide. One
that looks everywhere, such as RCAN with its attention over the whole window, can't: its tiles are approximations.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from wbsr_base.precision import dtype_of

_LOOK = 192  # LR pixels in which an answer is sought
_SIDE = 24  # LR pixels of the probe in half precision


@torch.no_grad()
def reach(network: nn.Module, in_channels: int = 3) -> int | None:
    """How far an output pixel looks, in LR pixels to each side; None if farther than 192, or everywhere.

    Args:
        network: from (N, C, H, W) to (N, C', scale H, scale W).
        in_channels: C.
    """
    exact = copy.deepcopy(network).to("cpu", torch.float64).eval()
    pixels = torch.rand(1, in_channels, 4, _LOOK, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    changed = pixels.clone()
    changed[..., 0] += 0.5
    before, after = exact(pixels), exact(changed)
    scale = before.shape[-1] // _LOOK
    differs = (after != before).any(-2).any(1)[0]  # what sees no change computes the same, to the last bit
    farthest = int(differs.nonzero().max()) if differs.any() else 0
    return None if farthest == len(differs) - 1 else farthest // scale


@torch.no_grad()
def half_error(network: nn.Module, precision: str, in_channels: int = 3, device: torch.device | str = "cpu") -> float:
    """The mean error that a number format makes, in levels of 255, on random pixels; infinite where it overflows.

    Args:
        network: as for `reach`.
        precision: `bf16` or `fp16`.
        in_channels: C.
        device: where it is tried.
    """
    network = copy.deepcopy(network).to(device, torch.float32).eval()
    pixels = torch.rand(1, in_channels, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0)).to(device)
    expected, dtype = network(pixels), dtype_of(precision)
    found = network.to(dtype)(pixels.to(dtype)).float()
    error = float((found - expected).abs().mean() * 255)
    return error if math.isfinite(error) else math.inf
