"""What is looked at of an image before it is upscaled: the scores of its patches, and where it is flat."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from torch import Tensor

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.devices import coming
from wbsr_models.routing.choice import Scores
from wbsr_models.routing.flat import Flat, mark_flat
from wbsr_models.routing.policy import Policy


class Look:
    """A look at an image, on its way to the host from the beginning; who asks first waits for it.

    Args:
        policy: which scores patches are routed by, and whether flat ones are spared.
        network: whose subnets are chosen.
        lr: (C, H, W), range 0-1, on the network's device.
        patch_size: LR pixels.
        stride: LR pixels between patches.
    """

    def __init__(self, policy: Policy, network: DynamicNetwork, lr: Tensor, patch_size: int, stride: int) -> None:
        self.flat = Flat(lr, patch_size, stride) if policy.flat else None
        self._coming = coming(policy.scores(network, lr, patch_size, stride))

    @cached_property
    def scores(self) -> Scores:
        """float32 (rows, cols) or (rows, cols, M), NaN where a flat patch is spared.

        Raises:
            ValueError: a score is no finite number, as pixels are none.
        """
        scores: Scores = self._coming().numpy()
        if not np.isfinite(scores).all():
            raise ValueError("image must be finite numbers of range 0-1, got NaN or infinity")
        return scores if self.flat is None else mark_flat(scores, self.flat.patches)
