"""Whether results are numbers: half precision can overflow, and weights can hold what is none."""

from __future__ import annotations

import torch
from torch import Tensor


def is_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite; at 8K a mask of all values would count. The host waits once."""
    low, high = torch.aminmax(values)
    return bool(low.isfinite() & high.isfinite())
