"""Difficulty classes 1..K of patches, and how often each class is drawn (paper, Eq. 7 and 8).

Thresholds split the sorted scores in K classes (7): t_k = s[⌊k·N/K⌋] by quantile, or K equal widths of the value range.
A threshold belongs to the class above it: class k holds t_{k-1} <= score < t_k.

Class probabilities in our reading of (8), which as printed is no probability (δ_k = δ^k, N_k patches in class k):

    P_k = 1/(N_k·δ^k) / Σ_j 1/(N_j·δ^j)

so rare classes are favoured by 1/N_k and hard ones by δ^-k. An empty class gets 0. A class with a handful of patches
would take over the training, so no patch may be drawn more than `max_repeat` times as often as under uniform drawing,
P_k <= max_repeat·N_k/N; what is cut off goes to the other classes in proportion to their own P.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

_LEAST_WEIGHT = 1e-290  # of a class that is not empty: what is cut off elsewhere must have somewhere to go

ThresholdMode = Literal["quantile", "linear"]


def thresholds(scores: ArrayLike, num_classes: int, mode: ThresholdMode = "quantile") -> NDArray[np.float32]:
    """The K-1 inner thresholds between K difficulty classes.

    If all scores are equal, all thresholds equal that score, and every patch is of class K.

    Args:
        scores: (N,) scores, finite.
        num_classes: K, in 1..255.
        mode: `quantile`, equal shares of the patches (7), or `linear`, equal widths of the value range.

    Returns:
        float32 (K-1,), not decreasing.

    Raises:
        ValueError: fewer scores than classes, a score that is not finite, K out of range, or an unknown mode.
    """
    values = np.asarray(scores, dtype=np.float32).ravel()
    if not 1 <= num_classes <= 255:
        raise ValueError(f"num_classes must be in 1..255, got {num_classes}")
    if num_classes > len(values):
        raise ValueError(
            f"num_classes must be at most the number of candidate patches, got {num_classes} classes for "
            f"{len(values)} patches: lower num_classes or the stride"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"scores must be finite, got {np.count_nonzero(~np.isfinite(values))} that are not")
    inner = np.arange(1, num_classes)
    if mode == "quantile":
        return np.asarray(np.sort(values)[inner * len(values) // num_classes])
    if mode == "linear":
        low, high = float(values.min()), float(values.max())
        return (low + inner * (high - low) / num_classes).astype(np.float32)
    raise ValueError(f"thresholds must be one of quantile, linear, got {mode!r}")


@overload
def classify(scores: Tensor, thresholds: ArrayLike | Tensor) -> Tensor: ...
@overload
def classify(scores: ArrayLike, thresholds: ArrayLike) -> NDArray[np.uint8]: ...
def classify(scores: Any, thresholds: Any) -> Any:
    """The class 1..K of each score; class k holds t_{k-1} <= score < t_k.

    Args:
        scores: numbers of any shape.
        thresholds: (K-1,), not decreasing, as `thresholds` makes them.

    Returns:
        For a tensor an int64 tensor on its device, else a uint8 array; in 1..K, of the shape of `scores`.
    """
    torch = sys.modules.get("torch")  # who hands over a tensor has imported it
    if torch is not None and isinstance(scores, torch.Tensor):
        inner = torch.as_tensor(thresholds, dtype=torch.float32, device=scores.device)
        return torch.bucketize(scores.float(), inner, right=True) + 1
    bounds = np.asarray(thresholds, dtype=np.float32)
    return (np.searchsorted(bounds, np.asarray(scores, dtype=np.float32), side="right") + 1).astype(np.uint8)


def class_probabilities(counts: ArrayLike, delta: float = 0.9, max_repeat: float | None = None) -> NDArray[np.float64]:
    """P_k, the share of the draws that goes to class k in the class-level stage (8).

    Args:
        counts: (K,) patches N_k of each class, easiest first.
        delta: δ in (0, 1]; smaller favours hard classes more, 1 is pure inverse frequency.
        max_repeat: a patch is drawn at most this many times as often as under uniform drawing; None sets no bound.

    Returns:
        float64 (K,), sums to 1; 0 where a class is empty.

    Raises:
        ValueError: no patch at all, δ out of (0, 1], or max_repeat below 1.
    """
    patches = np.asarray(counts, dtype=np.float64)
    if patches.ndim != 1 or patches.sum() <= 0 or (patches < 0).any():
        raise ValueError(f"counts must be one number of patches per class, not all 0, got {counts!r}")
    if not 0 < delta <= 1:
        raise ValueError(f"delta must be in (0, 1], got {delta}")
    if max_repeat is not None and not max_repeat >= 1:
        raise ValueError(f"max_repeat must be at least 1 (1 is uniform drawing), got {max_repeat}")
    filled = patches > 0
    classes = np.flatnonzero(filled)
    weights = np.zeros_like(patches)
    powers = delta ** (classes[-1] - classes).astype(np.float64)  # δ^-k, without overflow
    weights[filled] = np.maximum(powers, _LEAST_WEIGHT) / patches[filled]
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities if max_repeat is None else bounded(probabilities, max_repeat * patches / patches.sum())


def bounded(probabilities: NDArray[np.float64], caps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut probabilities at their caps and give the excess to the others in proportion, until none is above its cap.

    The caps sum to at least 1, so this ends with a distribution. Each round fixes at least one class.
    """
    result: NDArray[np.float64] = probabilities.copy()
    capped = np.zeros(len(result), dtype=bool)
    while True:
        above = (result > caps) & ~capped
        if not above.any():
            return result
        capped |= above
        result[capped] = caps[capped]
        free = ~capped & (probabilities > 0)
        if free.any():
            result[free] = probabilities[free] * (1 - caps[capped].sum()) / probabilities[free].sum()
