"""The index of all candidate patches: where each lies, its score, and its difficulty class.

Every LR image is scored on a grid of crop positions, the scores give the thresholds (Eq. 7), they give the classes. The
score is the gradient's (`gradient_score`); others are there to compare with. Dynamic inference routes by the gradient,
so its thresholds are kept whatever the classes are made by. A candidate takes 13 bytes. Candidates are sorted by class,
and within a class by image and position, so that class k is one slice.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wbsr_base.pixels.images import Pixels, to_float
from wbsr_data.bilinear import bilinear_error
from wbsr_data.difficulty import ThresholdMode, classify, thresholds
from wbsr_data.gradient import gradient_score, patch_positions

_logger = logging.getLogger("basicsr.wbsr_data")  # reaches the log file where BasicSR runs
_MAX_SIDE = 2**16 - 1

Score = Literal["norm", "mean", "std", "bilinear"]


class Scored(NamedTuple):
    """An image's candidates: rows, columns, scores, and gradient scores for routing."""

    rows: NDArray[np.uint16]
    cols: NDArray[np.uint16]
    scores: NDArray[np.float32]
    routing: NDArray[np.float32]


@dataclass(frozen=True)
class IndexSettings:
    """What an index is made with.

    Args:
        patch_size: LR patch side in pixels, at least 1.
        stride: distance of candidate positions in LR pixels, at least 1.
        num_classes: K, in 1..255.
        mode: how thresholds are set, `quantile` or `linear`.
        score: `norm`, `mean` or `std` of the gradient vector, or the error of `bilinear` upsampling, which needs HR.
    """

    patch_size: int
    stride: int = 8
    num_classes: int = 10
    mode: ThresholdMode = "quantile"
    score: Score = "norm"


@dataclass(frozen=True, eq=False)
class PatchIndex:
    """N candidate patches, sorted by class.

    Args:
        image: int32 (N,), number of the image.
        y: uint16 (N,), top row of the patch in LR pixels.
        x: uint16 (N,), left column of the patch in LR pixels.
        score: float32 (N,), by default the RMS gradient magnitude.
        difficulty: uint8 (N,), class 1..K, not decreasing.
        thresholds: float32 (K-1,), of the scores.
        routing: float32 (K-1,), the thresholds that RMS gradient magnitudes would give; mostly the same.
        skipped: int32 (S,), numbers of the images that are smaller than a patch.
    """

    image: NDArray[np.int32]
    y: NDArray[np.uint16]
    x: NDArray[np.uint16]
    score: NDArray[np.float32]
    difficulty: NDArray[np.uint8]
    thresholds: NDArray[np.float32]
    routing: NDArray[np.float32]
    skipped: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.thresholds) + 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 (K,): N_k, the candidates of each class."""
        return np.bincount(self.difficulty, minlength=self.num_classes + 1)[1:]

    @classmethod
    def build(
        cls,
        load: Callable[[int], Pixels],
        names: Sequence[str],
        settings: IndexSettings,
        progress: bool = True,
        load_hr: Callable[[int], Pixels] | None = None,
    ) -> PatchIndex:
        """Score all candidates of all images, on all cores.

        If all scores are equal (flat images), every candidate is of class K, and both stages draw uniformly.

        Args:
            load: gives the pixels of an LR image, uint8 or uint16 (H, W, 3) BGR; called from several threads.
            names: the images' names, for errors; their number is the number of images.
            settings: patch size, stride, classes.
            progress: show a progress bar.
            load_hr: gives an HR image likewise; needed for the score `bilinear` alone.

        Raises:
            ValueError: no image as large as a patch, more classes than candidates, no `load_hr` where it is needed, or
                what `load` raises.
        """
        if settings.score == "bilinear" and load_hr is None:
            raise ValueError("the score bilinear compares with HR images, got none: give load_hr")

        def score(number: int) -> Scored:
            hr = load_hr if settings.score == "bilinear" else None
            return _score_image(load(number), names[number], settings, hr and hr(number))

        with _one_torch_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
            scored = list(
                tqdm(
                    pool.map(score, range(len(names))),
                    total=len(names),
                    desc="Scoring patches",
                    unit="image",
                    disable=not progress,
                )
            )
        return cls._from_scored(scored, settings)

    @classmethod
    def _from_scored(cls, scored: Sequence[Scored], settings: IndexSettings) -> PatchIndex:
        sizes = np.array([len(each.scores) for each in scored])
        if not sizes.any():
            raise ValueError(
                f"an LR image must be at least {settings.patch_size} pixels (gt_size / scale) high and wide, "
                f"got {len(scored)} images that are all smaller: lower gt_size"
            )
        rows, cols, scores, gradients = (np.concatenate(parts) for parts in zip(*scored, strict=True))
        image = np.repeat(np.arange(len(scored), dtype=np.int32), sizes)
        bounds, routing = (thresholds(values, settings.num_classes, settings.mode) for values in (scores, gradients))
        if settings.num_classes > 1 and scores.min() == scores.max():
            _logger.warning(
                "All %d candidate patches score %g: they fall in one class, and HES draws uniformly.",
                len(scores),
                scores[0],
            )
        difficulty = classify(scores, bounds)
        order = np.argsort(difficulty, kind="stable")
        skipped = np.flatnonzero(sizes == 0).astype(np.int32)
        return cls(image[order], rows[order], cols[order], scores[order], difficulty[order], bounds, routing, skipped)


def _score_image(pixels: Pixels, name: str, settings: IndexSettings, hr: Pixels | None) -> Scored:
    """An image's candidates; none for an image that is smaller than a patch."""
    height, width = pixels.shape[:2]
    if max(height, width) > _MAX_SIDE:
        raise ValueError(f"{name} must be at most {_MAX_SIDE} pixels high and wide, got {height} x {width}: cut it up")
    if min(height, width) < settings.patch_size:
        none = np.empty(0, np.uint16)
        return Scored(none, none, np.empty(0, np.float32), np.empty(0, np.float32))
    rgb = _tensor(pixels)
    routing = scores = gradient_score(rgb, settings.patch_size, settings.stride)
    if settings.score == "bilinear" and hr is not None:
        scores = bilinear_error(rgb, _tensor(hr), settings.patch_size, settings.stride)
    elif settings.score in ("mean", "std"):
        scores = gradient_score(rgb, settings.patch_size, settings.stride, settings.score)
    rows = patch_positions(height, settings.patch_size, settings.stride).numpy().astype(np.uint16)
    cols = patch_positions(width, settings.patch_size, settings.stride).numpy().astype(np.uint16)
    grid_rows, grid_cols = np.meshgrid(rows, cols, indexing="ij")
    return Scored(grid_rows.ravel(), grid_cols.ravel(), scores.numpy().ravel(), routing.numpy().ravel())


def _tensor(pixels: Pixels) -> torch.Tensor:
    """(H, W, 3) BGR pixels as float32 (3, H, W) RGB, range 0-1."""
    return torch.from_numpy(np.ascontiguousarray(to_float(pixels)[..., ::-1].transpose(2, 0, 1)))


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """One torch thread in each of our own, or they would fight for the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
