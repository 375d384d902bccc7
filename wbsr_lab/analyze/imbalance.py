"""The numbers behind the picture of the imbalance, as plain types for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbsr_data.patch_index import PatchIndex
from wbsr_data.samplings import SAMPLINGS
from wbsr_lab.analyze.pairs import Pairs

LEVELS = ("easy", "medium", "hard")
PAPER = {"easy": 0.488, "medium": 0.346, "hard": 0.166}  # Figure 1a, DIV2K
DEFAULT_LEVELS = (0.075, 0.14)
"""Scores between easy, medium and hard. The paper does not say where it draws these lines; at x4 and patches of 32 LR
pixels these two give shares like its own on a mixed set of photographs. Being absolute, they compare sets."""

BINS = 100
COMPONENTS = 8  # of the mixture, the default of BDLoss
PIXELS = 50_000


def describe(pairs: Pairs, levels: tuple[float, float] | None = None) -> dict[str, Any]:
    """What was analysed, and the distribution of scores, levels and classes over the candidates.

    Raises:
        ValueError: levels that are not increasing, or none for another score than the gradient's norm.
    """
    if levels is None and pairs.hes.score != "norm":
        raise ValueError(
            f"easy, medium and hard have default levels for the score norm alone, got {pairs.hes.score}: give --levels"
        )
    levels = levels or DEFAULT_LEVELS
    if not 0 < levels[0] < levels[1]:
        raise ValueError(f"levels must be two increasing scores above 0, got {list(levels)}")
    index, hes = pairs.index, pairs.hes
    small = {pairs.names[number]: "smaller than a patch" for number in index.skipped}
    counts, edges = np.histogram(index.score, BINS, (0.0, max(float(index.score.max()), 1e-6)))
    return {
        "hr": str(pairs.hr_root),
        "scale": pairs.scale,
        "patch_size": pairs.patch_size,
        "stride": hes.stride,
        "score": hes.score,
        "images": len(pairs.names) - len(small),
        "skipped": {**pairs.skipped, **small},
        "candidates": len(index),
        "scores": {"histogram": counts.tolist(), "edges": edges.tolist(), "mean": float(index.score.mean())},
        "levels": {"thresholds": list(levels), "share": _level_shares(index, levels), "paper": PAPER},
        "classes": _classes(pairs),
    }


def fit_pixels(pairs: Pairs) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """RGB values (n, 3) of HR pixels in 0-1, and the Gaussian mixture fitted to them, as BDLoss fits it."""
    from sklearn.mixture import GaussianMixture

    from wbsr_losses.fit import COVARIANCE_FLOOR
    from wbsr_losses.pixels import ImageList, list_images, sample_pixels

    names = pairs.hr_names
    images = list_images(pairs.hr_root) if names is None else ImageList(pairs.hr_root, tuple(names), ())
    pixels = sample_pixels(images, PIXELS, seed=0)
    components = min(COMPONENTS, len(np.unique(pixels, axis=0)))
    mixture = GaussianMixture(components, reg_covar=COVARIANCE_FLOOR, random_state=0).fit(pixels)
    found = {name: getattr(mixture, f"{name}_").tolist() for name in ("weights", "means", "covariances")}
    return pixels, found


def _level_shares(index: PatchIndex, levels: tuple[float, float]) -> dict[str, float]:
    counts = np.bincount(np.searchsorted(levels, index.score, side="right"), minlength=len(LEVELS))
    return dict(zip(LEVELS, (counts / len(index)).tolist(), strict=True))


def _classes(pairs: Pairs) -> dict[str, Any]:
    """Of each class k: N_k, its share of the draws before and after, and how much more often a patch is drawn."""
    index, hes = pairs.index, pairs.hes
    uniform = index.counts / len(index)
    shares = SAMPLINGS[hes.sampling].shares(index.counts, hes)
    repeat = np.divide(shares, uniform, out=np.zeros_like(shares), where=uniform > 0)
    return {
        "sampling": hes.sampling,
        "mode": hes.thresholds,
        "delta": hes.delta,
        "sample_level": hes.sample_level,
        "max_repeat": hes.max_repeat,
        "thresholds": index.thresholds.tolist(),
        "count": index.counts.tolist(),
        "share_uniform": uniform.tolist(),
        "share_class_level": shares.tolist(),
        "share_training": (hes.sample_level * uniform + (1 - hes.sample_level) * shares).tolist(),
        "repeat": repeat.tolist(),
    }
