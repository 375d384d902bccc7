"""The `hes` block of a training set: `PatchOptions` that all have, and those of `HESPairedImageDataset`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wbsr_base.options import parse
from wbsr_data.samplings import SAMPLINGS

_REQUIRED = ("dataroot_gt", "dataroot_lq", "io_backend", "phase", "scale", "gt_size", "use_hflip", "use_rot")


@dataclass(frozen=True)
class PatchOptions:
    """Which patches there are, what classes of difficulty they make, and how images and index are kept.

    Args:
        score: what classes are made by: `norm` of the gradient vector, its `mean` or `std` alone, or the error of
            `bilinear` upsampling.
        num_classes: K, number of difficulty classes, in 2..255.
        thresholds: `quantile` (classes of equal size) or `linear` (of equal width in score).
        sample_level: share of the training that draws uniformly, in [0, 1]; the rest draws by class.
        stride: distance of candidate positions in LR pixels.
        max_repeat: no patch is drawn more than this many times as often as under uniform drawing; at least 1.
        decoded_mb: MB of decoded images that are kept in memory (of each GPU's process, its workers included); 0
            decodes anew each time.
        cache: keep the index on disk, under `.cache/wbsr`; or a folder of your own.
        seed: of the draws and flips; None takes the training's `manual_seed`.
    """

    score: Literal["norm", "mean", "std", "bilinear"] = "norm"
    num_classes: int = 10
    thresholds: Literal["quantile", "linear"] = "quantile"
    sample_level: float = 0.7
    stride: int = 8
    max_repeat: float = 10.0
    decoded_mb: int = 512
    cache: bool | str = True
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.cache == "":
            raise ValueError("cache must be true, false or a folder, got an empty text")
        if not 2 <= self.num_classes <= 255:
            raise ValueError(f"num_classes must be in 2..255, got {self.num_classes}")
        if not 0 <= self.sample_level <= 1:
            raise ValueError(f"sample_level must be in [0, 1], got {self.sample_level}")
        if self.stride < 1:
            raise ValueError(f"stride must be at least 1, got {self.stride}")
        if not self.max_repeat >= 1:
            raise ValueError(f"max_repeat must be at least 1 (1 is uniform drawing), got {self.max_repeat}")
        if self.decoded_mb < 0:
            raise ValueError(f"decoded_mb must be at least 0, got {self.decoded_mb}")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")

    def shares(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """P_k (K,), the share of the draws that goes to class k once the uniform stage is over.

        Args:
            counts: (K,) patches N_k of each class.
        """
        uniform: NDArray[np.float64] = counts / counts.sum()
        return uniform


@dataclass(frozen=True)
class HESOptions(PatchOptions):
    """Hierarchical equalization sampling (paper, section 3.2, Eq. 7 and 8); the paper's values as defaults.

    Args:
        sampling: `hes`; or, to compare with, `samplingaug`, `bspa` or `uniform`. These have other defaults for some of
            the options, see `samplings.py`.
        delta: δ in (0, 1]; smaller draws hard classes more often.
        hardest: share of the patches that `samplingaug` draws from, in (0, 1].
    """

    sampling: Literal["hes", "samplingaug", "bspa", "uniform"] = "hes"
    delta: float = 0.9
    hardest: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.delta <= 1:
            raise ValueError(f"delta must be in (0, 1], got {self.delta}")
        if not 0 < self.hardest <= 1:
            raise ValueError(f"hardest must be in (0, 1], got {self.hardest}")

    def shares(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """P_k (K,), the share of the draws that goes to class k once the uniform stage is over."""
        return SAMPLINGS[self.sampling].shares(counts, self)


def parse_hes(block: Mapping[str, Any] | None, where: str) -> HESOptions:
    """The options of a `hes` block, over the defaults of the sampling that it names.

    Raises:
        ValueError, TypeError: as in `wbsr_base.options.parse`.
    """
    if not isinstance(block, Mapping):
        return parse(HESOptions, block, where)
    name = str(block.get("sampling", "hes"))
    if name == "dda":
        raise ValueError(
            f"{where}:sampling: `dda` is a training set of its own: set type: DDAPairedImageDataset and leave out "
            "sampling"
        )
    sampling = SAMPLINGS.get(name)
    return parse(HESOptions, {**(sampling.defaults if sampling else {}), **block}, where)


def check_pairs(opt: Mapping[str, Any], where: str) -> None:
    """Check what `PairedImageDataset` takes for granted.

    Raises:
        ValueError: a key is missing, or a value is out of its range.
    """
    for key in _REQUIRED:
        if key not in opt:
            raise ValueError(f"{where}: the key {key!r} is missing")
    if opt["phase"] != "train":
        raise ValueError(
            f"{where}: {opt.get('type', 'the set')} draws training patches, got phase {opt['phase']!r}: "
            "use PairedImageDataset for validation"
        )
    gt_size, scale = opt["gt_size"], opt["scale"]
    for key in ("gt_size", "scale"):
        if not isinstance(opt[key], int) or isinstance(opt[key], bool) or opt[key] < 1:
            raise ValueError(f"{where}: {key} must be a whole number of at least 1, got {opt[key]!r}")
    if gt_size % scale:
        raise ValueError(f"{where}: gt_size must be a multiple of the scale {scale}, got {gt_size}")
    _check_normalization(opt, where)
    if not isinstance(opt["io_backend"], Mapping) or "type" not in opt["io_backend"]:
        raise ValueError(f"{where}: io_backend must be a block with a type, such as {{type: disk}}")


def _check_normalization(opt: Mapping[str, Any], where: str) -> None:
    """`mean` and `std` go together, a number for each channel."""
    channels = 1 if opt.get("color") == "y" else 3
    given = {key: opt[key] for key in ("mean", "std") if opt.get(key) is not None}
    for key, value in given.items():
        numbers = isinstance(value, Sequence) and all(isinstance(one, (int, float)) for one in value)
        if not numbers or len(value) != channels or (key == "std" and not all(one > 0 for one in value)):
            above = " above 0" if key == "std" else ""
            raise ValueError(
                f"{where}: {key} must be a list of {channels} numbers{above}, one a channel, got {value!r}"
            )
    if len(given) == 1:
        missing = "std" if "mean" in given else "mean"
        raise ValueError(f"{where}: mean and std go together: {missing} is missing")
