"""Measures what routing needs to know of a trained supernet, on HR images: D[k, m], the mean squared error of class k
under subnet m, and thresholds between the classes where training left none (Eq. 7).

Of each class the same number of patches is drawn, so that rare classes are measured as well as common ones; every
subnet sees the same patches (`patch_errors.py`). The time is bounded by the number of images and patches.

On request also ARM's edge table, likewise: the bins of the edge score, of equal width between the lowest and the
highest as published, take the place of the classes, and the mean PSNR of a bin's patches that of the squared error.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_data.difficulty import classify
from wbsr_data.difficulty import thresholds as quantiles
from wbsr_models.edge_routing import EdgeTable
from wbsr_models.patch_errors import Errors, Load, Network, Scored, measure, score
from wbsr_models.tile_runner import bicubic
from wbsr_models.tiling import DEFAULT_HALO

_logger = logging.getLogger("basicsr.wbsr_models")
_NO_ERROR = 1e-8  # squared; a patch without error counts as 80 dB, as ARM has it

Counts = NDArray[np.int64]  # and other whole numbers


@dataclass(frozen=True)
class CalibrationSettings:
    """How much is measured.

    Args:
        patches: at most so many in all, shared equally among the classes.
        images: at most so many, drawn by the seed.
        halo: LR pixels of real surroundings around a patch, as in inference.
        num_classes: K, where there are no thresholds yet.
        seed: of the draws.
        edge_bins: B of the edge table, which as many patches more are measured for; 0 leaves it out.

    Raises:
        ValueError: a number out of its range.
    """

    patches: int = 1000
    images: int = 100
    halo: int = DEFAULT_HALO
    num_classes: int = 10
    seed: int = 0
    edge_bins: int = 0

    def __post_init__(self) -> None:
        minima = {"patches": 1, "images": 1, "halo": 0, "num_classes": 2, "seed": 0, "edge_bins": 0}
        for name, least in minima.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("num_classes", "edge_bins"):
            if getattr(self, name) > 255:
                raise ValueError(f"{name} must be at most 255, got {getattr(self, name)}")


@dataclass(frozen=True)
class Calibration:
    """What was measured: K-1 thresholds, the share of each class among all patches, K x M squared errors (RGB, range
    0-1), and from how many patches of each class. A class without a patch has the errors of its nearest neighbour.
    `edge_table`: ARM's, if it was asked for.
    """

    thresholds: tuple[float, ...]
    class_shares: tuple[float, ...]
    error_table: tuple[tuple[float, ...], ...]
    measured: tuple[int, ...]
    edge_table: EdgeTable | None = None


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
        load: gives HR image number 0..count-1: uint8 (H, W, 3) RGB. It is called up to three times for an image.
        count: number of HR images there are.
        patch_size: LR pixels.
        thresholds: K-1 scores from training; None derives them from the patches found, in classes of equal size.
        settings: how much is measured; None takes the defaults.

    Raises:
        ValueError: no image is as large as a patch, or there are fewer patches than classes or bins.
    """
    settings = settings or CalibrationSettings()
    rng = np.random.default_rng(settings.seed)
    chosen = np.sort(rng.permutation(count)[: settings.images])
    scored = _scored(load, chosen.tolist(), supernet.scale, patch_size)
    scores = np.concatenate([one.scores for one in scored])
    if thresholds is None:
        thresholds = quantiles(scores, settings.num_classes).tolist()
    num_classes = len(thresholds) + 1
    classes = classify(scores, thresholds).astype(np.int64) - 1
    networks: list[Network] = [functools.partial(bicubic, scale=supernet.scale)]
    networks += [supernet.extract(subnet).to(memory_format=torch.channels_last) for subnet in supernet.subnets]

    def means(
        groups: NDArray[np.int64], count: int, kind: str, of: Callable[[Errors], Errors]
    ) -> tuple[Errors, Counts]:
        drawn = _draw(groups, count, max(1, settings.patches // count), rng)
        sums = np.zeros((count, len(networks)))
        device = next(supernet.parameters()).device
        for positions, squared in measure(networks, load, scored, drawn, patch_size, settings.halo, device):
            np.add.at(sums, groups[positions], of(squared))
        measured = np.bincount(groups[drawn], minlength=count)
        return _filled(sums, measured, kind), measured

    errors, measured = means(classes, num_classes, "class", lambda squared: squared)
    table = None
    if settings.edge_bins:
        edges = np.concatenate([one.edges for one in scored])
        bounds = _edge_bounds(edges, settings.edge_bins)
        bins = classify(edges, bounds).astype(np.int64) - 1
        psnr, _ = means(bins, settings.edge_bins, "bin", lambda squared: -10 * np.log10(np.maximum(squared, _NO_ERROR)))
        table = EdgeTable(bounds, tuple(map(tuple, psnr.tolist())))
    return Calibration(
        tuple(map(float, thresholds)),
        tuple((np.bincount(classes, minlength=num_classes) / len(classes)).tolist()),
        tuple(map(tuple, errors[:, 1:].tolist())),
        tuple(measured.tolist()),
        table,
    )


def _scored(load: Load, chosen: Sequence[int], scale: int, patch_size: int) -> list[Scored]:
    """The LR images of these HR images and the scores of their patches, without those smaller than a patch."""
    bar = tqdm(chosen, desc="Scoring patches", unit="image")
    scored = [one for one in (score(load(number), number, scale, patch_size) for number in bar) if one]
    if not scored:
        raise ValueError(
            f"HR images must be at least {patch_size * scale} pixels high and wide for one patch, "
            f"got {len(chosen)} that are all smaller"
        )
    return scored


def _edge_bounds(scores: NDArray[np.float32], bins: int) -> tuple[float, ...]:
    """B-1 bounds between bins of equal width."""
    if bins > len(scores):
        raise ValueError(
            f"edge_bins must be at most the number of patches found, got {bins} bins for {len(scores)} patches: give "
            "more or larger images, or fewer bins"
        )
    return tuple(quantiles(scores, bins, "linear").tolist())


def _draw(classes: NDArray[np.int64], num_classes: int, per_class: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Positions of at most `per_class` patches of each class, increasing."""
    members = (rng.permutation(np.flatnonzero(classes == k))[:per_class] for k in range(num_classes))
    return np.sort(np.concatenate(list(members)))


def _filled(sums: Errors, counts: Counts, kind: str) -> Errors:
    """Means; a class (or bin) without a patch takes over those of the nearest one that has some."""
    there = np.flatnonzero(counts)
    nearest = there[np.abs(there[None, :] - np.arange(len(counts))[:, None]).argmin(axis=1)]
    if len(there) < len(counts):
        empty = ", ".join(str(k + 1) for k in np.flatnonzero(counts == 0))
        _logger.warning("No patch of %s %s was found: its errors are those of the nearest %s.", kind, empty, kind)
    return np.asarray((sums / np.maximum(counts, 1)[:, None])[nearest])
