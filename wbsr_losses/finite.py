"""What made a loss NaN or infinite: noted where the tensors are, without a read by the host, and named later."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NOTES = 6  # the loss is not finite; how many numbers of prediction, target, weight are not; Σ weight = 0; max |ŷ|


@torch.no_grad()
def notes(loss: Tensor, pred: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """What `blame` has to know of one forward (6,), float64, on the loss's device; the first is 0 if all is well."""
    nothing = loss.new_zeros(())
    return torch.stack(
        [
            _broken(loss),
            _broken(pred),
            _broken(target),
            nothing.double() if weight is None else _broken(weight),
            nothing.double() if weight is None else (weight.sum() == 0).double(),
            pred.abs().max().double(),
        ]
    )


def blame(noted: Sequence[float]) -> None:
    """Raise the error that names the culprit, from the numbers of `notes`.

    Raises:
        ValueError: always.
    """
    _, *counts, weightless, largest = noted
    for name, count in zip(("prediction", "target", "weight"), counts, strict=True):
        if count:
            remedy = "check the HR images" if name == "target" else "lower the learning rate or clip the gradient"
            raise ValueError(f"the {name} must be finite, got {count:.0f} values of NaN or infinity: {remedy}")
    if weightless:
        raise ValueError("the weight must not sum to 0, which reduction mean divides by: leave out such a batch")
    raise ValueError(
        f"the loss is not finite, with predictions up to {largest:.3g} where 0-1 is meant: training has diverged, "
        "lower the learning rate"
    )


def _broken(tensor: Tensor) -> Tensor:
    """How many numbers are NaN or infinite: those which taken from themselves don't leave 0."""
    return torch.count_nonzero(tensor - tensor).double()
