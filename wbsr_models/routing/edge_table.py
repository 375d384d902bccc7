"""ARM's routing (Chen et al., ECCV 2022): a patch's edge score tells what PSNR to expect, and η what PSNR is worth.

    m = argmax_m (η·PSNR_m(bin) - C_m)

over bicubic interpolation, which costs nothing, and the subnets. `wbsr calibrate --edge-table` measures PSNR_m(bin).

    bin: of the patch's edge score (`wbsr_data.edge`)    PSNR_m: mean PSNR of subnet m on patches of that bin, in dB
    C_m: cost of subnet m, as a share of the full network's    η: at least 0, shares of the full network per dB

ARM counts C_m in FLOPs of one 32 x 32 patch, so its η is in FLOPs per dB: divide it by the full network's FLOPs of that
patch (5.194e9 for SRResNet x4) to get ours. A larger η never chooses a cheaper subnet: what it gains by PSNR grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wbsr_data.difficulty import classify
from wbsr_models.routing.choice import NO_SUBNET

BINS = 30  # as published


@dataclass(frozen=True)
class EdgeTable:
    """What PSNR to expect of a patch with a given edge score.

    Args:
        bounds: B-1 scores between the B bins, not decreasing; a score on a bound belongs to the bin above it.
        psnr: (B, M + 1) dB, RGB: of bicubic interpolation, then of each subnet in order of FLOPs.

    Raises:
        ValueError: not one row for each bin, or rows of different length.
    """

    bounds: tuple[float, ...]
    psnr: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len(self.psnr) != len(self.bounds) + 1:
            raise ValueError(
                f"an edge table must have one row for each of its {len(self.bounds) + 1} bins, got {len(self.psnr)} "
                "rows: run wbsr calibrate --edge-table again"
            )
        if list(self.bounds) != sorted(self.bounds):
            raise ValueError("the bounds of an edge table must not decrease: run wbsr calibrate --edge-table again")

    def check(self, num_subnets: int) -> None:
        """Refuse a table of another supernet.

        Raises:
            ValueError: a row that is not bicubic's and each subnet's PSNR.
        """
        for row in self.psnr:
            if len(row) != num_subnets + 1:
                raise ValueError(
                    f"an edge table must have a column for bicubic and one for each of the {num_subnets} subnets, got "
                    f"{len(row)} columns: run wbsr calibrate --edge-table again"
                )


def route_by_edge(
    scores: NDArray[np.floating], table: EdgeTable, costs: Sequence[float], eta: float
) -> NDArray[np.int64]:
    """m = argmax_m (η·PSNR_m - C_m); of two as good, the cheaper.

    Args:
        scores: edge scores of any shape.
        table: the PSNR to expect.
        costs: C_m of each subnet, as a share of the full network's, in any order.
        eta: η, at least 0; 0 is bicubic everywhere.

    Returns:
        int64 of the same shape: the number of a subnet, or `NO_SUBNET`: bicubic interpolation.
    """
    spent = np.array([0.0, *costs])
    order = np.argsort(spent, kind="stable")
    worth = eta * np.asarray(table.psnr, dtype=np.float64) - spent
    best = order[worth[:, order].argmax(axis=1)] + NO_SUBNET  # the number of the table's first column
    return np.asarray(best[classify(scores, table.bounds).astype(np.int64) - 1], dtype=np.int64)
