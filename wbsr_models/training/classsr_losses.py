"""What ClassSR (Kong et al., CVPR 2021) asks of its classifier beside a good image: be decided, and use all branches.

Of P (N, B), the probabilities of B branches for N patches,

    class loss    = -mean_n Σ_{i<j} |P_ni - P_nj|               from 0, undecided, to -(B-1), one branch has all
    average loss  = Σ_i |mean_n P_ni - 1/B| / (2 (B-1)/B)       from 0, all branches alike, to 1, one branch for all

The paper writes the average loss as a sum over the batch; its authors' weights are for a loss between 0 and 1, which
does not depend on the size of the batch. Their class loss has B-1 added, which changes no gradient.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, distributed


def class_loss(probabilities: Tensor) -> Tensor:
    """How undecided the classifier is.

    Args:
        probabilities: (N, B), rows sum to 1.

    Returns:
        A scalar in [-(B-1), 0].
    """
    pairs = itertools.combinations(probabilities.unbind(1), 2)
    return -torch.stack([(one - other).abs() for one, other in pairs]).sum(0).mean()


def average_loss(probabilities: Tensor) -> Tensor:
    """How unevenly the branches are used over the batch, of all processes together.

    Args:
        probabilities: (N, B), rows sum to 1; as many on every process.

    Returns:
        A scalar in [0, 1].
    """
    branches = probabilities.shape[1]
    used = probabilities.mean(0)
    if distributed.is_available() and distributed.is_initialized():
        from torch.distributed.nn.functional import all_reduce  # not in builds without processes

        used = all_reduce(used) / distributed.get_world_size()  # type: ignore[no-untyped-call]
    return (used - 1 / branches).abs().sum() / (2 * (branches - 1) / branches)
