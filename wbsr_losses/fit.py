"""The mixture of Eq. 11-14, fitted to HR pixels or residuals by expectation maximisation (scikit-learn), and cached.

The cache stands in `.cache/wbsr` of the current directory, under a key of the images (names, sizes, times of change)
and of every setting: change one, and the mixture is fitted again. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from wbsr_losses.mixture import GaussianMixture
from wbsr_losses.pixels import ImageList, Measure, list_images, sample_pixels

_logger = logging.getLogger("basicsr.wbsr_losses")  # reaches the log file where BasicSR runs

CACHE = Path(".cache/wbsr")
COVARIANCE_FLOOR = (1 / 255) ** 2  # one grey level; keeps a component of one colour (saturated white) from collapsing
MOST_SAMPLES = 1_000_000
RECIPE = 2  # to be raised when the same images and settings would give another mixture

SKLEARN_NAMES = {"full": "full", "diagonal": "diag", "spherical": "spherical"}

Pixels = npt.NDArray[np.float64]
Covariance = Literal["full", "diagonal", "spherical"]


def fit_mixture(
    root: str | Path,
    components: int = 8,
    covariance: Covariance = "full",
    max_samples: int = 100_000,
    seed: int = 0,
    cache: bool = True,
    cache_dir: str | Path = CACHE,
    y: Measure = "pixel",
    scale: int | None = None,
) -> GaussianMixture:
    """Fit a mixture to the RGB values (0-1) of the HR images under `root`, or to their residuals or textures.

    The same images, settings and seed give the same mixture.

    Args:
        root: folder of images, or LMDB made by BasicSR.
        components: L, the number of Gaussians, at least 1.
        covariance: shape of Σ_i: any ("full"), "diagonal", or one number ("spherical").
        max_samples: how many pixels to draw, at most 1,000,000.
        seed: of the draw and of the fit.
        cache: whether to look for, and keep, the result in `cache_dir`.
        cache_dir: folder of the cache.
        y: `pixel`, `residual` (over the bicubic base; needs `scale`) or `texture` (of dimension 1).
        scale: (residual) by which HR is larger than LR, at least 2.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: a setting out of its range, an image that can't be read, or fewer samples than components.
    """
    _check(components, covariance, max_samples, y)
    if (y == "residual") != (scale is not None) or (scale is not None and scale < 2):
        raise ValueError(f"scale must be at least 2 for y: residual, and goes with it alone, got {scale} for y: {y}")
    images = list_images(root)
    settings = [components, covariance, max_samples, seed, y, scale, COVARIANCE_FLOOR, RECIPE]
    file = Path(cache_dir) / f"mixture-{_key(images, settings)}.json"
    if cache and (found := _from_cache(file)) is not None:
        return found
    pixels = sample_pixels(images, max_samples, seed, y, scale)
    if len(pixels) < components:
        raise ValueError(f"max_samples must be at least components = {components}, got {len(pixels)} pixels: raise it")
    mixture = _fit(pixels, components, covariance, seed)
    if cache:
        _to_cache(mixture, file)
    return mixture


def _check(components: int, covariance: str, max_samples: int, y: str) -> None:
    if y not in get_args(Measure):
        raise ValueError(f"y must be one of {', '.join(get_args(Measure))}, got {y!r}")
    if not (isinstance(components, int) and components >= 1):
        raise ValueError(f"components must be a whole number of at least 1, got {components!r}")
    if covariance not in SKLEARN_NAMES:
        raise ValueError(f"covariance must be one of {', '.join(SKLEARN_NAMES)}, got {covariance!r}")
    if not 1 <= max_samples <= MOST_SAMPLES:
        raise ValueError(f"max_samples must be in 1..{MOST_SAMPLES}, got {max_samples}")


def _fit(pixels: Pixels, components: int, covariance: Covariance, seed: int) -> GaussianMixture:
    """Expectation maximisation."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture as Estimator

    shape = SKLEARN_NAMES[covariance]
    estimator = Estimator(components, covariance_type=shape, reg_covar=COVARIANCE_FLOOR, random_state=seed)
    with warnings.catch_warnings():  # fewer colours than components, or 100 rounds: a sound mixture all the same
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(pixels)
    arrays = (estimator.weights_, estimator.means_, _full(estimator.covariances_, pixels.shape[1]))
    return GaussianMixture(*(torch.from_numpy(array).float() for array in arrays))


def _full(covariances: Pixels, dimension: int) -> Pixels:
    """Covariances of any shape, one number, D numbers or a matrix for each component, as matrices (L, D, D)."""
    if covariances.ndim == 1:
        covariances = np.repeat(covariances[:, None], dimension, axis=1)
    return covariances if covariances.ndim == 3 else covariances[:, None] * np.eye(covariances.shape[1])


def _key(images: ImageList, settings: Sequence[object]) -> str:
    content = json.dumps([images.root.resolve().as_posix(), images.stamps, settings])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _from_cache(file: Path) -> GaussianMixture | None:
    if not file.is_file():
        return None
    try:
        return GaussianMixture.load(file)
    except (OSError, ValueError) as error:
        _logger.warning("fitting the mixture again: the cached one can't be used: %s", error)
        return None


def _to_cache(mixture: GaussianMixture, file: Path) -> None:
    try:
        mixture.save(file)
    except OSError as error:
        _logger.warning("the mixture can't be cached, and will be fitted again next time: %s", error)
