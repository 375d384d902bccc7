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

from wbsr_base.bicubic import Bytes, crop_to_multiple, resize
from wbsr_data.edge import edge_score
from wbsr_data.gradient import gradient_score, patch_positions

_BATCH = 16  # windows in one call of a network

Load = Callable[[int], Bytes]
Network = Callable[[Tensor], Tensor]
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


def score(hr: Bytes, number: int, scale: int, patch_size: int) -> Scored | None:
    """The LR image and the scores of its patches; None if it is smaller than a patch."""
    pixels = crop_to_multiple(hr, scale)
    if min(pixels.shape[:2]) < patch_size * scale:
        return None
    lr = to_tensor(resize(pixels, 1 / scale))
    rows, cols = (patch_positions(side, patch_size, patch_size).numpy() for side in lr.shape[1:])
    grid_rows, grid_cols = np.meshgrid(rows, cols, indexing="ij")
    scores, edges = (scoring(lr, patch_size).numpy().ravel() for scoring in (gradient_score, edge_score))
    return Scored(number, lr, grid_rows.ravel(), grid_cols.ravel(), scores, edges)


def measure(
    networks: Sequence[Network],
    load: Load,
    scored: Sequence[Scored],
    drawn: NDArray[np.int64],
    patch_size: int,
    halo: int,
    device: torch.device,
) -> Iterator[tuple[NDArray[np.int64], Errors]]:
    """Batches of positions and the squared errors of the networks, (n,) and (n, networks)."""
    first = np.cumsum([0, *(len(one.scores) for one in scored)])
    with tqdm(total=len(drawn), desc="Measuring errors", unit="patch") as bar:
        for one, start, end in zip(scored, first[:-1], first[1:], strict=True):
            inside = drawn[(drawn >= start) & (drawn < end)]
            if len(inside) == 0:
                continue
            hr = to_tensor(load(one.number))
            for at in range(0, len(inside), _BATCH):
                positions = inside[at : at + _BATCH]
                places = [(int(one.rows[i - start]), int(one.cols[i - start])) for i in positions]
                yield positions, _squared_errors(networks, one.lr, hr, places, patch_size, halo, device)
                bar.update(len(positions))


@torch.no_grad()
def _squared_errors(
    networks: Sequence[Network],
    lr: Tensor,
    hr: Tensor,
    places: Sequence[tuple[int, int]],
    patch_size: int,
    halo: int,
    device: torch.device,
) -> Errors:
    """Mean squared error of every network on patches of one image: (n, networks)."""
    height, width = (min(patch_size + 2 * halo, side) for side in lr.shape[1:])
    corners = [
        (min(max(row - halo, 0), lr.shape[1] - height), min(max(col - halo, 0), lr.shape[2] - width))
        for row, col in places
    ]
    windows = torch.stack([lr[:, top : top + height, left : left + width] for top, left in corners])
    windows = windows.to(device).contiguous(memory_format=torch.channels_last)
    result = np.empty((len(places), len(networks)))
    for m, network in enumerate(networks):
        outputs = network(windows).clamp_(0, 1).cpu()
        scale = outputs.shape[-1] // width
        side = patch_size * scale
        for i, ((row, col), (top, left)) in enumerate(zip(places, corners, strict=True)):
            y, x = (row - top) * scale, (col - left) * scale
            truth = hr[:, row * scale : row * scale + side, col * scale : col * scale + side]
            result[i, m] = float((outputs[i, :, y : y + side, x : x + side] - truth).square().mean())
    return result


def to_tensor(pixels: Bytes) -> Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W), range 0-1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)
