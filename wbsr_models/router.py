"""Asks a network that routes patches, such as ClassSR's classifier, about all patches of an image, in batches."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from wbsr_data.gradient import patch_positions
from wbsr_models.policy import Scores

_BATCH = 256  # patches


@torch.no_grad()
def router_scores(router: nn.Module, lr: Tensor, patch_size: int, stride: int) -> Scores:
    """What the router says of each patch.

    Args:
        router: from (N, C, h, w) to (N, M).
        lr: (C, H, W), range 0-1, on the router's device.
        patch_size: side of the square patches in LR pixels.
        stride: distance between patches in LR pixels; positions: `patch_positions`, so the last patch of a row or
            column lies within the image. A side shorter than a patch is one patch.

    Returns:
        float32 (rows, cols, M).
    """
    rows, cols = (patch_positions(side, patch_size, stride).tolist() for side in lr.shape[-2:])
    corners = list(itertools.product(rows, cols))
    parts = []
    for first in range(0, len(corners), _BATCH):
        batch = corners[first : first + _BATCH]
        patches = torch.stack([lr[:, y : y + patch_size, x : x + patch_size] for y, x in batch])
        parts.append(router(patches.float()))
    scores: Scores = torch.cat(parts).reshape(len(rows), len(cols), -1).cpu().numpy()
    return scores
