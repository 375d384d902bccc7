"""Luma as BasicSR makes it for `color: y`: BT.601, from 16 to 235 of 255."""

from __future__ import annotations

import torch
from torch import Tensor

BLACK, SPAN = 16.0, 219.0  # levels of 255

_WEIGHTS = (65.481, 128.553, 24.966)  # for R, G, B of 0-1


def luma(rgb: Tensor) -> Tensor:
    """(3, H, W), range 0-1, to (1, H, W)."""
    return sum((w * plane for w, plane in zip(_WEIGHTS, rgb, strict=True)), torch.tensor(BLACK)).div_(255)[None]


def in_channels(rgb: Tensor, channels: int) -> Tensor:
    """What a network of so many channels takes of an image (3, H, W): it, or its luma.

    Raises:
        ValueError: another number of channels than 1 or 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"images have 3 channels, or 1 of luma, but the network takes {channels}")
    return rgb if channels == 3 else luma(rgb)
