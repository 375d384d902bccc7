"""A function of one number, worked out on a grid and read off between its points.

A batch has a million values and the range of colours some thousand steps, so what is dear to work out for each value is
cheap to look up. Between grid points stands the cubic that has the function's value and slope at both: with a step of
an eighth of the narrowest component its error is that of float32. Values beyond the grid are worked out themselves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wbsr_losses.blocks import blocks
from wbsr_losses.slope import Work

LOW, HIGH = -1.0, 2.0  # pixel values are in 0..1, residuals in -1..1
STEPS_PER_WIDTH = 8
MOST_STEPS = 1 << 16
WORTH = 4  # a table is made for so many values per grid point


def tabulated(work: Work, width: float) -> Work:
    """`work` read off a table where there are many values; see `with_slope` for what it takes and returns.

    Args:
        work: for x (N, C, P) the values and slopes (N, C, P) of a function of each number, one function per channel.
        width: the scale at which the function changes.
    """
    points = math.ceil((HIGH - LOW) * STEPS_PER_WIDTH / width) + 1

    def read(x: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        if x.dtype != torch.float32 or points > MOST_STEPS or x.numel() < WORTH * points * x.shape[1]:
            return work(x, wanted)
        cubics, step = _cubics(work, x, points)
        value, slope = torch.empty_like(x), torch.empty_like(x)
        for n, p in blocks(x, 8 * x.shape[1]):
            value[n, :, p], slope[n, :, p] = _read(cubics, x[n, :, p], step, points - 1)
        beyond = ((x < LOW) | (x > HIGH)).any(1)  # (N, P)
        if beyond.any():
            own_value, own_slope = work(x.movedim(1, 0)[:, beyond][None], True)
            value.movedim(1, 0)[:, beyond] = own_value[0]
            slope.movedim(1, 0)[:, beyond] = own_slope[0]  # type: ignore[index]
        return value, slope

    return read


def _cubics(work: Work, x: Tensor, points: int) -> tuple[Tensor, float]:
    """Coefficients (C · cells, 4) of the cubic in every cell, lowest power first, and the step of the grid."""
    step = (HIGH - LOW) / (points - 1)
    grid = torch.linspace(LOW, HIGH, points, dtype=torch.float64, device=x.device).expand(1, x.shape[1], points)
    value, slope = work(grid, True)
    left, right = value[0, :, :-1], value[0, :, 1:]
    rise = slope[0] * step  # type: ignore[index]
    rise_left, rise_right = rise[:, :-1], rise[:, 1:]
    square, cube = 3 * (right - left) - 2 * rise_left - rise_right, 2 * (left - right) + rise_left + rise_right
    return torch.stack([left, rise_left, square, cube], -1).flatten(0, 1).to(x), step


def _read(cubics: Tensor, x: Tensor, step: float, cells: int) -> tuple[Tensor, Tensor]:
    place = (x - LOW) / step
    cell = place.long().clamp_(0, cells - 1)
    t = place.sub_(cell)
    rows = torch.arange(x.shape[1], device=x.device)[:, None] * cells
    c0, c1, c2, c3 = cubics[cell.add_(rows)].unbind(-1)
    value = ((c3 * t).add_(c2).mul_(t).add_(c1)).mul_(t).add_(c0)
    slope = ((3 * c3 * t).add_(c2, alpha=2).mul_(t).add_(c1)).div_(step)
    return value, slope
