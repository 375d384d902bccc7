"""Flat patches need no network, whatever the policy: marked in its scores, they are kept from what it chooses.

A patch in which nothing happens (`wbsr_data.flatness`) is interpolated, at no cost, and white paper stays white. In the
scores it is NaN; the policy chooses for the others alone, so a budget is a mean over those.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from wbsr_data.flatness import flat_patches
from wbsr_models.routing.choice import NO_SUBNET, Choice, Scores
from wbsr_models.routing.policy import Choose


def mark_flat(scores: Scores, lr: Tensor, patch_size: int, stride: int) -> Scores:
    """The scores (rows, cols) or (rows, cols, M) of the patches of an LR image (C, H, W), NaN where one is flat."""
    flat = flat_patches(lr, patch_size, stride).cpu().numpy()
    marked: Scores = np.where(flat.reshape(*flat.shape, *[1] * (scores.ndim - 2)), np.float32(np.nan), scores)
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
