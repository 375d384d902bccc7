"""What made a loss NaN or infinite: noted where the tensors are, without a read by the host, and named later."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wbsr_base.errors import NotFiniteError

NOTES = 6  # the loss is not finite; how many numbers of prediction and target are not; max |ŷ|; of weight; Σ weight = 0


@torch.no_grad()
def notes(loss: Tensor, pred: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """What `blame` has to know of one forward (6,), or (4,) without a weight, float64, on the loss's device; the first
    is 0 if all is well."""
    given = [loss, pred, target] if weight is None else [loss, pred, target, weight]
    counts = [torch.count_nonzero(gap) for gap in torch._foreach_sub(given, given)]  # what is not finite leaves a NaN
    largest = torch.linalg.vector_norm(pred, math.inf, dtype=torch.float64)
    weighted = [] if weight is None else [counts[-1], weight.sum() == 0]
    return torch.stack([*counts[:3], largest, *weighted])


def blame(noted: Sequence[float]) -> None:
    """Raise the error that names the culprit, from the numbers of `notes`.

    Raises:
        NotFiniteError: always.
    """
    _, in_prediction, in_target, largest, in_weight, weightless = [*noted, 0, 0][:NOTES]
    for name, count in (("prediction", in_prediction), ("target", in_target), ("weight", in_weight)):
        if count:
            remedy = "check the HR images" if name == "target" else "lower the learning rate or clip the gradient"
            raise NotFiniteError(f"the {name} must be finite, got {count:.0f} values of NaN or infinity: {remedy}")
    if weightless:
        raise NotFiniteError("the weight must not sum to 0, which reduction mean divides by: leave out such a batch")
    raise NotFiniteError(
        f"the loss is not finite, with predictions up to {largest:.3g} where 0-1 is meant: training has diverged, "
        "lower the learning rate"
    )
