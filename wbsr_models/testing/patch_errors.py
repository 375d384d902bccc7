"""Squared errors of networks on patches of HR images, of which calibration makes its tables.

HR images are made LR by MATLAB-style bicubic. Patches lie on the grid of dynamic inference, and each is run inside the
window that a tile of its size reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from wbsr_base.pixels.bicubic import Bytes, crop_to_multiple, resize
from wbsr_base.pixels.luma import in_channels
from wbsr_data.edge import edge_score
from wbsr_data.gradient import gradient_score, patch_positions
from wbsr_models.inference.tile_runner import TileRunner
from wbsr_models.inference.tiling import make_tile
from wbsr_models.routing.choice import NO_SUBNET

Load = Callable[[int], Bytes]
Errors = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """One image's LR pixels and the grid of its patches: rows, columns (LR pixels) and both scores, all (N,)."""

    number: int
    lr: Tensor
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    scores: NDArray[np.float32]
    edges: NDArray[np.float32]


def score(hr: Bytes, number: int, scale: int, patch_size: int, channels: int = 3) -> Scored | None:
    """The LR image, in the channels of a network, and the scores of its patches; None if it is smaller than a patch."""
    pixels = crop_to_multiple(hr, scale)
    if min(pixels.shape[:2]) < patch_size * scale:
        return None
    lr = in_channels(to_tensor(resize(pixels, 1 / scale)), channels)
    rows, cols = (patch_positions(side, patch_size, patch_size).numpy() for side in lr.shape[1:])
    grid_rows, grid_cols = np.meshgrid(rows, cols, indexing="ij")
    scores, edges = (scoring(lr, patch_size).numpy().ravel() for scoring in (gradient_score, edge_score))
    return Scored(number, lr, grid_rows.ravel(), grid_cols.ravel(), scores, edges)


def squared_errors(
    runner: TileRunner,
    load: Load,
    scored: Sequence[Scored],
    drawn: NDArray[np.int64],
    patch_size: int,
    device: torch.device,
) -> Iterator[tuple[NDArray[np.int64], Errors]]:
    """Mean squared errors (RGB, or luma of a network that takes that; range 0-1) on drawn patches, image by image.

    Args:
        runner: of the networks.
        load: HR images by number.
        scored: their LR images, and the grids of their patches.
        drawn: positions among all patches of `scored`, increasing.
        patch_size: LR pixels.
        device: where the networks run.

    Yields:
        Positions (n,), and the errors of interpolation and of each subnet, (n, 1 + M).

    Raises:
        ValueError: a subnet makes pixels that are no finite numbers.
    """
    first = np.cumsum([0, *(len(one.scores) for one in scored)])
    with tqdm(total=len(drawn), desc="Measuring errors", unit="patch") as bar:
        for one, start, end in zip(scored, first[:-1], first[1:], strict=True):
            inside = drawn[(drawn >= start) & (drawn < end)]
            if len(inside) > 0:
                places = [(int(one.rows[i - start]), int(one.cols[i - start])) for i in inside]
                hr = in_channels(to_tensor(load(one.number)), one.lr.shape[0])
                yield inside, _on_image(runner, one.lr.to(device), hr, places, patch_size)
                bar.update(len(inside))


@torch.no_grad()
def _on_image(runner: TileRunner, lr: Tensor, hr: Tensor, places: Sequence[tuple[int, int]], patch_size: int) -> Errors:
    """Errors on the patches of one image at these rows and columns: (n, 1 + M)."""
    network, halo = runner.pool.source, runner.pool.settings.window_halo
    numbers = [NO_SUBNET, *range(len(network.subnets))]
    result = np.empty((len(places), len(numbers)))
    for column, number in enumerate(numbers):
        tiles = [
            make_tile(number, row, row + patch_size, col, col + patch_size, halo, *lr.shape[1:]) for row, col in places
        ]
        rows = {tile: i for i, tile in enumerate(tiles)}
        for tile, output in runner.outputs(lr, tiles):
            if not output.isfinite().all():
                raise ValueError(
                    f"subnet {network.subnets[number]} makes pixels that are no finite numbers, so nothing can be "
                    "measured: take an earlier checkpoint"
                )
            sr = output[tile.inside(network.scale)].clamp(0, 1).float().cpu()
            result[rows[tile], column] = float((sr - hr[tile.target(network.scale)]).square().mean())
    return result


def to_tensor(pixels: Bytes) -> Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W), range 0-1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)
