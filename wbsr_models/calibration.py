"""Measures what routing needs to know of a trained supernet, on HR images: D[k, m], the mean squared error of class k
under subnet m, and thresholds between the classes where training left none (Eq. 7).

HR images are made LR by MATLAB-style bicubic and cut into patches on the grid of dynamic inference. Of each class the
same number of patches is drawn, so that rare classes are measured as well as common ones; every subnet sees the same
patches, each inside the window that a tile of its size reads. The time is bounded by the number of images and patches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_data.bicubic import Bytes, crop_to_multiple, resize
from wbsr_data.difficulty import classify
from wbsr_data.difficulty import thresholds as quantiles
from wbsr_data.gradient import gradient_score, patch_positions
from wbsr_models.tiling import DEFAULT_HALO

_logger = logging.getLogger("basicsr.wbsr_models")
_BATCH = 16  # windows in one call of a subnet

Load = Callable[[int], Bytes]


@dataclass(frozen=True)
class CalibrationSettings:
    """How much is measured.

    Args:
        patches: at most so many in all, shared equally among the classes.
        images: at most so many, drawn by the seed.
        halo: LR pixels of real surroundings around a patch, as in inference.
        num_classes: K, where there are no thresholds yet.
        seed: of the draws.

    Raises:
        ValueError: a number out of its range.
    """

    patches: int = 1000
    images: int = 100
    halo: int = DEFAULT_HALO
    num_classes: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("patches", 1), ("images", 1), ("halo", 0), ("num_classes", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.num_classes > 255:
            raise ValueError(f"num_classes must be at most 255, got {self.num_classes}")


@dataclass(frozen=True)
class Calibration:
    """What was measured: K-1 thresholds, the share of each class among all patches, K x M squared errors (RGB, range
    0-1), and from how many patches of each class. A class without a patch has the errors of its nearest neighbour.
    """

    thresholds: tuple[float, ...]
    class_shares: tuple[float, ...]
    error_table: tuple[tuple[float, ...], ...]
    measured: tuple[int, ...]


@dataclass(frozen=True)
class _Scored:
    """One image's LR pixels and the grid of its patches: rows, columns (LR pixels) and scores, all (N,)."""

    number: int
    lr: Tensor
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    scores: NDArray[np.float32]


def calibrate(
    supernet: DynamicNetwork,
    load: Load,
    count: int,
    patch_size: int,
    thresholds: Sequence[float] | None = None,
    settings: CalibrationSettings | None = None,
) -> Calibration:
    """Measure D[k, m] on HR images.

    Args:
        supernet: trained, in evaluation mode, on the device that shall run it.
        load: gives HR image number 0..count-1: uint8 (H, W, 3) RGB. It is called twice for an image.
        count: number of HR images there are.
        patch_size: LR pixels.
        thresholds: K-1 scores from training; None derives them from the patches found, in classes of equal size.
        settings: how much is measured; None takes the defaults.

    Raises:
        ValueError: no image is as large as a patch, or there are fewer patches than classes.
    """
    settings = settings or CalibrationSettings()
    rng = np.random.default_rng(settings.seed)
    chosen = np.sort(rng.permutation(count)[: settings.images])
    bar = tqdm(chosen.tolist(), desc="Scoring patches", unit="image")
    scored = [one for one in (_score(load(number), number, supernet.scale, patch_size) for number in bar) if one]
    if not scored:
        raise ValueError(
            f"HR images must be at least {patch_size * supernet.scale} pixels high and wide for one patch, "
            f"got {len(chosen)} that are all smaller"
        )
    scores = np.concatenate([one.scores for one in scored])
    if thresholds is None:
        thresholds = quantiles(scores, settings.num_classes).tolist()
    num_classes = len(thresholds) + 1
    classes = classify(scores, thresholds).astype(np.int64) - 1
    drawn = _draw(classes, num_classes, max(1, settings.patches // num_classes), rng)
    errors = np.zeros((num_classes, len(supernet.subnets)))
    for positions, squared in _measure(supernet, load, scored, drawn, patch_size, settings.halo):
        np.add.at(errors, classes[positions], squared)
    measured = np.bincount(classes[drawn], minlength=num_classes)
    return Calibration(
        tuple(map(float, thresholds)),
        tuple((np.bincount(classes, minlength=num_classes) / len(classes)).tolist()),
        tuple(map(tuple, _filled(errors, measured).tolist())),
        tuple(measured.tolist()),
    )


def _score(hr: Bytes, number: int, scale: int, patch_size: int) -> _Scored | None:
    """The LR image and the scores of its patches; None if it is smaller than a patch."""
    pixels = crop_to_multiple(hr, scale)
    if min(pixels.shape[:2]) < patch_size * scale:
        return None
    lr = to_tensor(resize(pixels, 1 / scale))
    rows, cols = (patch_positions(side, patch_size, patch_size).numpy() for side in lr.shape[1:])
    grid_rows, grid_cols = np.meshgrid(rows, cols, indexing="ij")
    scores = gradient_score(lr, patch_size).numpy()
    return _Scored(number, lr, grid_rows.ravel(), grid_cols.ravel(), scores.ravel())


def _draw(classes: NDArray[np.int64], num_classes: int, per_class: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions of at most `per_class` patches of each class, increasing."""
    members = (rng.permutation(np.flatnonzero(classes == k))[:per_class] for k in range(num_classes))
    return np.sort(np.concatenate(list(members)))


def _measure(
    supernet: DynamicNetwork,
    load: Load,
    scored: Sequence[_Scored],
    drawn: NDArray[np.int64],
    patch_size: int,
    halo: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Batches of positions and their squared errors, (n,) and (n, M)."""
    networks = [supernet.extract(subnet).to(memory_format=torch.channels_last) for subnet in supernet.subnets]
    device = next(supernet.parameters()).device
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
    networks: Sequence[nn.Module],
    lr: Tensor,
    hr: Tensor,
    places: Sequence[tuple[int, int]],
    patch_size: int,
    halo: int,
    device: torch.device,
) -> NDArray[np.float64]:
    """Mean squared error of every network on patches of one image: (n, M)."""
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


def _filled(sums: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means; a class without a patch takes over those of the nearest class that has one."""
    there = np.flatnonzero(counts)
    nearest = there[np.abs(there[None, :] - np.arange(len(counts))[:, None]).argmin(axis=1)]
    if len(there) < len(counts):
        empty = ", ".join(str(k + 1) for k in np.flatnonzero(counts == 0))
        _logger.warning("No patch of class %s was found: its errors are those of the nearest class.", empty)
    return np.asarray((sums / np.maximum(counts, 1)[:, None])[nearest])


def to_tensor(pixels: Bytes) -> Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W), range 0-1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().div_(255)
