"""The `hes` block of a training set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wbsr.options import parse
from wbsr_data.samplings import SAMPLINGS


@dataclass(frozen=True)
class HESOptions:
    """Hierarchical equalization sampling (paper, section 3.2, Eq. 7 and 8); the paper's values as defaults.

    Args:
        sampling: `hes`; or, to compare with, `samplingaug`, `bspa` or `uniform`. These have other defaults for some
            of the options below, see `samplings.py`.
        score: what classes are made by: `norm` of the gradient vector, its `mean` or `std` alone, or the error of
            `bilinear` upsampling.
        num_classes: K, number of difficulty classes, in 2..255.
        delta: δ in (0, 1]; smaller draws hard classes more often.
        thresholds: `quantile` (classes of equal size) or `linear` (of equal width in score).
        sample_level: share of the training that draws uniformly, in [0, 1]; the rest draws by class.
        stage: `step` from uniform to class-level drawing, or `ramp` over the rest of the training.
        stride: distance of candidate positions in LR pixels.
        max_repeat: no patch is drawn more than this many times as often as under uniform drawing; at least 1.
        hardest: share of the patches that `samplingaug` draws from, in (0, 1].
        decoded_mb: MB of decoded images that are kept in memory (of each GPU's process, its workers included); 0
            decodes anew each time.
        cache: keep the index on disk, under `.cache/wbsr`; or a folder of your own.
        seed: of the draws and flips; None takes the training's `manual_seed`.
    """

    sampling: Literal["hes", "samplingaug", "bspa", "uniform"] = "hes"
    score: Literal["norm", "mean", "std", "bilinear"] = "norm"
    num_classes: int = 10
    delta: float = 0.9
    thresholds: Literal["quantile", "linear"] = "quantile"
    sample_level: float = 0.7
    stage: Literal["step", "ramp"] = "step"
    stride: int = 8
    max_repeat: float = 10.0
    hardest: float = 0.1
    decoded_mb: int = 512
    cache: bool | str = True
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.num_classes <= 255:
            raise ValueError(f"num_classes must be in 2..255, got {self.num_classes}")
        if not 0 < self.delta <= 1:
            raise ValueError(f"delta must be in (0, 1], got {self.delta}")
        if not 0 <= self.sample_level <= 1:
            raise ValueError(f"sample_level must be in [0, 1], got {self.sample_level}")
        if self.stride < 1:
            raise ValueError(f"stride must be at least 1, got {self.stride}")
        if not self.max_repeat >= 1:
            raise ValueError(f"max_repeat must be at least 1 (1 is uniform drawing), got {self.max_repeat}")
        if not 0 < self.hardest <= 1:
            raise ValueError(f"hardest must be in (0, 1], got {self.hardest}")
        if self.decoded_mb < 0:
            raise ValueError(f"decoded_mb must be at least 0, got {self.decoded_mb}")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


def parse_hes(block: Mapping[str, Any] | None, where: str) -> HESOptions:
    """The options of a `hes` block, over the defaults of the sampling that it names.

    Raises:
        ValueError, TypeError: as in `wbsr.options.parse`.
    """
    if not isinstance(block, Mapping):
        return parse(HESOptions, block, where)
    sampling = SAMPLINGS.get(str(block.get("sampling", "hes")))
    return parse(HESOptions, {**(sampling.defaults if sampling else {}), **block}, where)
