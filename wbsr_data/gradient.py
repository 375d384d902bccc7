"""How difficult a patch is: the RMS gradient magnitude of its luma (paper, section 3.2; our reading of Eq. 7).

The paper sorts patches by a gradient vector: mean and standard deviation of the gradient magnitude, horizontal and
vertical. Because mean² + std² = E[G²] in each direction, the norm of that vector is

    score = sqrt(E[Gh²] + E[Gv²])

and two box sums over Gh² and Gv² score every patch of an image at once. The means alone, or the standard deviations
alone, are there as other scores.

Border rule: a gradient is a forward difference, and only pairs of pixels which both lie in the patch count (h·(w-1)
horizontal and (h-1)·w vertical ones). So a patch scores the same alone and inside its image. An image smaller than a
patch is scored over what there is; a side of one pixel has no gradient in its direction, which then counts as 0.

Luma is rounded to multiples of 2⁻¹⁸ (finer than 16-bit images). All sums of squares are then exact in float64, so the
score is the same bit for bit alone and inside, on CPU and on GPU, at images of every usual size.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)  # BT.601, for R, G, B
_LEVELS = 2.0**18
_PARTS = {"mean": slice(0, 4, 2), "std": slice(1, 4, 2)}  # of the gradient vector

Part = Literal["norm", "mean", "std"]


def patch_positions(length: int, patch_size: int, stride: int, device: torch.device | None = None) -> Tensor:
    """Where patches start along a side: 0, stride, 2·stride, ..., the last one shifted inwards to end with the side.

    Args:
        length: the side in pixels.
        patch_size: the patch in pixels; a side no longer than it has the one position 0.
        stride: distance between neighbours in pixels.
        device: where the result lies, made there; None is the CPU.

    Returns:
        int64 (n,), increasing.

    Raises:
        ValueError: a number below 1.
    """
    for name, value in (("length", length), ("patch_size", patch_size), ("stride", stride)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    last = max(length - patch_size, 0)
    return torch.arange(0, last + stride, stride, device=device).clamp_(max=last)


def gradient_score(x: Tensor, patch_size: int, stride: int | None = None, part: Part = "norm") -> Tensor:
    """RMS gradient magnitude of every patch: sqrt(E[Gh²] + E[Gv²]).

    Args:
        x: (C, H, W) or (N, C, H, W), float, range 0-1; C = 3 is RGB, C = 1 is grey.
        patch_size: side of the square patches in pixels.
        stride: distance between patches in pixels; None is `patch_size`. Positions: `patch_positions`.
        part: `norm` of the whole gradient vector; or of its two means only (`mean`), or standard deviations (`std`).

    Returns:
        float32 (rows, cols) or (N, rows, cols), on the device of `x`; 0 for a flat patch, at most sqrt(2).

    Raises:
        ValueError: another shape or part, a patch size or stride below 1.
        TypeError: `x` is not of a float type.
    """
    if part in _PARTS:
        some: Tensor = torch.linalg.vector_norm(gradient_vector(x, patch_size, stride)[..., _PARTS[part]], dim=-1)
        return some
    if part != "norm":
        raise ValueError(f"part must be one of norm, {', '.join(_PARTS)}, got {part!r}")
    luma = to_luma(x)
    places = _places(luma, patch_size, stride)
    horizontal = _box_mean(torch.diff(luma, dim=-1).square_(), luma, patch_size, places, dim=-1)
    vertical = _box_mean(torch.diff(luma, dim=-2).square_(), luma, patch_size, places, dim=-2)
    return (horizontal + vertical).sqrt_().float()


def gradient_vector(x: Tensor, patch_size: int, stride: int | None = None) -> Tensor:
    """The paper's gradient vector of every patch; its norm is `gradient_score`.

    Args:
        x: as for `gradient_score`.
        patch_size: as for `gradient_score`.
        stride: as for `gradient_score`.

    Returns:
        float32 (..., rows, cols, 4): mean and standard deviation of |Gh|, then of |Gv|; each in 0-1.

    Raises:
        ValueError, TypeError: as for `gradient_score`.
    """
    luma = to_luma(x)
    places = _places(luma, patch_size, stride)
    parts = []
    for dim in (-1, -2):
        gradient = torch.diff(luma, dim=dim).abs_()
        mean = _box_mean(gradient, luma, patch_size, places, dim)
        energy = _box_mean(gradient.square(), luma, patch_size, places, dim)
        parts += [mean, (energy - mean.square()).clamp_(min=0).sqrt_()]
    return torch.stack(parts, dim=-1).float()


def to_luma(x: Tensor) -> Tensor:
    """(..., H, W) float64 luma, in multiples of 2⁻¹⁸."""
    if x.ndim not in (3, 4) or x.shape[-3] not in (1, 3):
        raise ValueError(f"an image must be (C, H, W) or (N, C, H, W) with C = 1 or 3, got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"an image must be of a float type, range 0-1, got {x.dtype}: divide 8-bit values by 255")
    if x.shape[-3] == 1:
        luma = x.squeeze(-3).double()
    else:
        red, green, blue = x.unbind(-3)
        luma = red.double() * _LUMA[0]
        luma = luma.add_(green.double(), alpha=_LUMA[1]).add_(blue.double(), alpha=_LUMA[2])
    return luma.mul(_LEVELS).round_().div_(_LEVELS)


def _places(luma: Tensor, patch_size: int, stride: int | None) -> tuple[Tensor, Tensor]:
    """Where patches start along the height and along the width, on the device of `luma`."""
    step = patch_size if stride is None else stride
    rows, cols = (patch_positions(side, patch_size, step, luma.device) for side in luma.shape[-2:])
    return rows, cols


def _box_mean(values: Tensor, luma: Tensor, patch_size: int, places: tuple[Tensor, Tensor], dim: int) -> Tensor:
    """Mean of the gradient values of direction `dim` in each patch: (..., H', W') -> (..., rows, cols)."""
    (height, width), (rows, cols) = luma.shape[-2:], places
    box_h = min(patch_size, height) - (dim == -2)
    box_w = min(patch_size, width) - (dim == -1)
    if box_h == 0 or box_w == 0:
        return luma.new_zeros((*luma.shape[:-2], len(rows), len(cols)))
    sums = window_sums(window_sums(values, cols, box_w, -1), rows, box_h, -2)
    return sums.div_(box_h * box_w)


def window_sums(values: Tensor, starts: Tensor, size: int, dim: int) -> Tensor:
    """Sums over the windows [start, start + size) along `dim`, through one running sum."""
    shape = list(values.shape)
    shape[dim] += 1
    running = values.new_zeros(shape)
    torch.cumsum(values, dim, out=running.narrow(dim, 1, values.shape[dim]))
    return running.index_select(dim, starts + size) - running.index_select(dim, starts)
