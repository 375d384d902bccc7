"""Measures what routing needs to know of a trained supernet, on HR images: D[k, m], the mean squared error of class k
under subnet m, and thresholds between the classes where training left none (Eq. 7).

Of each class the same number of patches is drawn, so that rare classes are measured as well as common ones; every
subnet sees the same patches (`patch_errors.py`). The time is bounded by the number of images and patches.

On request also ARM's edge table, likewise: the bins of the edge score, of equal width between the lowest and the
highest as published, take the place of the classes, and the mean PSNR of a bin's patches that of the squared error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_data.difficulty import classify
from wbsr_data.difficulty import thresholds as quantiles
from wbsr_models.inference.memory import Memory
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.settings import WINDOW_HALO, EngineSettings
from wbsr_models.inference.tile_runner import TileRunner
from wbsr_models.routing.edge_table import EdgeTable
from wbsr_models.routing.profile import Profile
from wbsr_models.testing.patch_errors import Errors, Load, Scored, score, squared_errors

_logger = logging.getLogger("basicsr.wbsr_models")
_NO_ERROR = 1e-8  # squared; a patch without error counts as 80 dB, as ARM has it

Counts = NDArray[np.int64]  # and other whole numbers


@dataclass(frozen=True)
class CalibrationSettings:
    """How much is measured.

    Args:
        patches: at most so many in all, shared equally among the classes; at least one for each.
        images: at most so many, drawn by the seed.
        halo: LR pixels of real surroundings around a patch.
        num_classes: K, where there are no thresholds yet.
        seed: of the draws.
        edge_bins: B of the edge table, which as many patches more are measured for; 0 leaves it out.

    Raises:
        ValueError: a number out of its range.
    """

    patches: int = 1000
    images: int = 100
    halo: int = WINDOW_HALO
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
    """What was measured: the profile with its tables, and from how many patches of each class. A class without a patch
    has the errors of its nearest neighbour."""

    profile: Profile
    measured: tuple[int, ...]


def calibrate(
    network: DynamicNetwork,
    load: Load,
    count: int,
    known: Profile,
    settings: CalibrationSettings | None = None,
) -> Calibration:
    """Measure D[k, m] on HR images.

    Args:
        network: trained, in evaluation mode, on the device that shall run it.
        load: gives HR image number 0..count-1: uint8 (H, W, 3) RGB. It is called up to three times for an image.
        count: number of HR images there are.
        known: patch size and thresholds from training; without thresholds they are derived from the patches found, in
            classes of equal size. An edge table that is not measured anew is kept.
        settings: how much is measured; None takes the defaults.

    Raises:
        ValueError: no image is as large as a patch, there are fewer patches than classes or bins, or fewer are to be
            measured, the network takes other channels than 3 or 1, or makes pixels that are no numbers.
    """
    settings = settings or CalibrationSettings()
    num_classes = len(known.thresholds) + 1 if known.thresholds else settings.num_classes
    for groups, what in ((num_classes, "classes"), (settings.edge_bins, "bins of the edge table")):
        if settings.patches < groups:
            raise ValueError(f"patches must be at least {groups}, the number of {what}, got {settings.patches}")
    rng = np.random.default_rng(settings.seed)
    chosen = np.sort(rng.permutation(count)[: settings.images])
    scored = _scored(load, chosen.tolist(), network, known.patch_size)
    scores = np.concatenate([one.scores for one in scored])
    thresholds = known.thresholds or tuple(quantiles(scores, settings.num_classes).tolist())
    classes = classify(scores, thresholds).astype(np.int64) - 1
    edges = np.concatenate([one.edges for one in scored])
    bounds = _edge_bounds(edges, settings.edge_bins) if settings.edge_bins else ()
    means = _Means(network, load, scored, known.patch_size, settings, rng)
    errors, measured = means.of(classes, num_classes, "class", lambda squared: squared)
    table = known.edge_table
    if settings.edge_bins:
        bins = classify(edges, bounds).astype(np.int64) - 1
        psnr, _ = means.of(bins, settings.edge_bins, "bin", _psnr)
        table = EdgeTable(bounds, tuple(map(tuple, psnr.tolist())))
    profile = Profile(
        known.patch_size,
        tuple(map(float, thresholds)),
        tuple(map(tuple, errors[:, 1:].tolist())),
        tuple((np.bincount(classes, minlength=num_classes) / len(classes)).tolist()),
        table,
    )
    return Calibration(profile, tuple(measured.tolist()))


@dataclass(frozen=True)
class _Means:
    """Means of errors over groups of patches, of which the same number is drawn from each."""

    network: DynamicNetwork
    load: Load
    scored: Sequence[Scored]
    patch_size: int
    settings: CalibrationSettings
    rng: np.random.Generator

    def of(self, groups: Counts, count: int, kind: str, what: Callable[[Errors], Errors]) -> tuple[Errors, Counts]:
        """The mean of `what` of the squared errors for each group, (groups, 1 + M), and how many were measured."""
        drawn = _draw(groups, count, self.settings.patches // count, self.rng)
        sums = np.zeros((count, 1 + len(self.network.subnets)))
        device, engine = next(self.network.parameters()).device, EngineSettings(halo=self.settings.halo)
        runner = TileRunner(NetworkPool(self.network, engine), Memory(self.network, engine))
        for positions, squared in squared_errors(runner, self.load, self.scored, drawn, self.patch_size, device):
            np.add.at(sums, groups[positions], what(squared))
        measured = np.bincount(groups[drawn], minlength=count)
        return _filled(sums, measured, kind), measured


def _psnr(squared: Errors) -> Errors:
    return np.asarray(-10 * np.log10(np.maximum(squared, _NO_ERROR)))


def _scored(load: Load, chosen: Sequence[int], network: DynamicNetwork, patch_size: int) -> list[Scored]:
    """The LR images of these HR images and the scores of their patches, without those smaller than a patch."""
    bar = tqdm(chosen, desc="Scoring patches", unit="image")
    scale, channels = network.scale, network.in_channels
    scored = [one for one in (score(load(number), number, scale, patch_size, channels) for number in bar) if one]
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
