"""Flat patches need no network, whatever the policy: marked in its scores, they are kept from what it chooses.

A patch in which nothing happens (`wbsr_data.flatness`) is interpolated, at no cost, and white paper stays white. In the
scores it is NaN; the policy chooses for the others alone, so a budget is a mean over those.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wbsr_base.devices import coming
from wbsr_data.flatness import flat_pixels, patches_within
from wbsr_models.routing.choice import NO_SUBNET, Choice, Scores
from wbsr_models.routing.policy import Choose

Flags = NDArray[np.bool_]


class Flat:
    """Where an image is flat.

    What the host has to know is on its way from the beginning, so that whoever reads a policy's scores from the device
    has waited for it too.

    Args:
        lr: (C, H, W), float, range 0-1.
        patch_size: side of the square patches in pixels.
        stride: distance between patches in pixels; positions: `wbsr_data.patch_positions`.
    """

    def __init__(self, lr: Tensor, patch_size: int, stride: int) -> None:
        self.pixels = flat_pixels(lr)  # bool (H, W), on the device of `lr`
        patches = patches_within(self.pixels, patch_size, stride)
        self._shape = patches.shape
        self._coming = coming(torch.cat([patches.flatten(), self.pixels.any(dim=1)]))

    @property
    def patches(self) -> Flags:
        """(rows, cols): whether a patch is flat all over."""
        return self._told[: self._shape.numel()].reshape(self._shape)

    @property
    def rows(self) -> Flags:
        """(H,): whether some pixel of a row is flat."""
        return self._told[self._shape.numel() :]

    @cached_property
    def _told(self) -> Flags:
        told: Flags = self._coming().numpy()
        return told


def mark_flat(scores: Scores, patches: Flags) -> Scores:
    """The scores (rows, cols) or (rows, cols, M) of patches, NaN where one is flat, (rows, cols)."""
    marked: Scores = np.where(patches.reshape(*patches.shape, *[1] * (scores.ndim - 2)), np.float32(np.nan), scores)
    return marked


def spare_flat(choose: Choose) -> Choose:
    """A policy's choice of subnets for scores that `mark_flat` may have marked: `NO_SUBNET` where they are."""

    def chosen(scores: Scores) -> Choice:
        flat = np.isnan(scores[..., 0] if scores.ndim == 3 else scores)
        if not flat.any():
            return choose(scores)
        choice: Choice = np.full(flat.shape, NO_SUBNET, dtype=np.int64)
        if not flat.all():
            choice[~flat] = choose(scores[~flat])
        return choice

    return chosen
