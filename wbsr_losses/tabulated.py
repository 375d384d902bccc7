"""A function of one number, worked out once on a grid and read off between its points.

A batch has a million values and the range of colours some thousand steps, so what is dear to work out for each value is
cheap to look up. The grid is spaced as floating-point numbers are: of

    u = 1 + |x - 1/2| / 2

every octave has the same number of cells, so the leading bits of u say the cell. Within the first octave, x in
-1.5..2.5, where colours and residuals are and whatever is narrow, all cells are equally fine; a tail of any length
takes few. In a cell stands the cubic that has the function's value and slope at both edges: with cells of an eighth of
the scale at which the function changes, its error is that of float32. Beyond `reach` the function must go on in a
straight line, as the log of an exponential tail does.

Looking a value up asks nothing of the host, whatever the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from wbsr_losses.blocks import by_blocks

Function = Callable[[Tensor], tuple[Tensor, Tensor]]  # of x (1, C, P), float64: values and slopes (1, C, P)

CENTRE, HALF = 0.5, 2.0  # of the first octave
OCTAVE = 1  # the power of two that HALF is: of HALF u the leading bits are those of u
PER_WIDTH = 8  # cells
MANTISSA, BIAS = 23, 127  # of float32
LEAST_BITS = 9  # 512 cells in an octave, which makes the cells of the tails fine enough
MOST_CELLS = 1 << 17  # of a side; a channel then takes 5 MB
PARTS = 5  # numbers of a cell: its edge towards the centre, and the cubic's coefficients from there, lowest power first


@dataclass(frozen=True)
class Grid:
    """The cells of one side, from the centre outwards; one more without an end, for the straight line, comes after.

    Attributes:
        bits: an octave has 2^bits cells.
        cells: how many.
    """

    bits: int
    cells: int

    @classmethod
    def of(cls, width: float, core: float, reach: float) -> Grid | None:
        """The grid for a function that changes at the scale `width` up to `core` from the centre, and slower beyond.

        It ends at `reach`, or within a cell from there; None where it takes too many cells, or finer ones than float32
        can tell apart.
        """
        octave = math.floor(math.log2(1 + core / HALF))
        bits = max(LEAST_BITS, octave + math.ceil(math.log2(PER_WIDTH * HALF / width)))
        octave = math.floor(math.log2(1 + reach / HALF))
        cells = math.ceil((octave + (1 + reach / HALF) / 2**octave - 1) * 2**bits)
        return cls(bits, cells) if bits <= MANTISSA and cells <= MOST_CELLS else None

    def edges(self) -> Tensor:
        """Distances from the centre (cells + 1,), float64."""
        number = torch.arange(self.cells + 1, dtype=torch.float64) / 2**self.bits
        octave = number.floor()
        distances: Tensor = HALF * ((1 + number - octave) * octave.exp2() - 1)
        return distances

    def place(self, x: Tensor) -> Tensor:
        """The cell of each number, int32; those to the left of the centre come after those to its right."""
        offset = x - CENTRE
        leading = offset.abs().add_(HALF).view(torch.int32).bitwise_right_shift_(MANTISSA - self.bits)
        cell = leading.sub_((BIAS + OCTAVE) << self.bits).clamp_(0, self.cells)  # a NaN too finds a place
        return cell.add_(offset < 0, alpha=self.cells + 1)


def tabulate(function: Function, channels: int, grid: Grid, device: torch.device) -> Tensor:
    """The table of a function for each of C channels: the cells' parts (C, 2 · (cells + 1), 5), float32."""
    sides = []
    for sign in (1, -1):
        edges = CENTRE + sign * grid.edges().to(device).expand(channels, -1)
        value, slope = (numbers[0] for numbers in function(edges[None]))
        width = edges.diff()
        rise = value.diff() / width
        square = (3 * rise - 2 * slope[:, :-1] - slope[:, 1:]) / width
        cube = (slope[:, :-1] + slope[:, 1:] - 2 * rise) / width.square()
        sides.append(torch.stack([edges, value, slope, F.pad(square, (0, 1)), F.pad(cube, (0, 1))]))
    return torch.cat(sides, 2).movedim(0, -1).contiguous().float()


def read(table: Tensor, grid: Grid, x: Tensor) -> tuple[Tensor, Tensor]:
    """Value and slope (N, C, P) of the numbers x (N, C, P), float32."""
    cells = table.flatten(0, 1)
    channels = torch.arange(0, len(cells), table.shape[1], dtype=torch.int32, device=x.device)[:, None]

    def read_block(some: Tensor) -> tuple[Tensor, Tensor]:
        cell = grid.place(some).add_(channels).flatten()
        edge, *cubic = cells.index_select(0, cell).view(*some.shape, PARTS).unbind(-1)
        return _cubic(some - edge, *cubic)

    return by_blocks(read_block, x, (PARTS + 3) * x.shape[1])


def _cubic(t: Tensor, c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor) -> tuple[Tensor, Tensor]:
    value = torch.addcmul(c0, t, torch.addcmul(c1, t, torch.addcmul(c2, t, c3)))
    slope = torch.addcmul(c1, t, torch.addcmul(2 * c2, t, c3, value=3))
    return value, slope
