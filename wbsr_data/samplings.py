"""Which share of the draws each difficulty class gets: HES, and the rivals of the paper's Table 3.

A sampling is one function from the sizes of the classes to P_k, and the options of the `hes` block that its authors
chose. Those are defaults: whatever the block says itself holds. To add a sampling, add a function and an entry, and its
name to `HESOptions`. (One that follows the training is a data set of its own: `dda_dataset.py`.)

    hes          this paper: class k by Eq. 8, after a first stage of uniform drawing
    samplingaug  SamplingAug (BMVC 2021): uniform over the hardest tenth, by the error of bilinear upsampling
    bspa         after BSPA: half of the draws uniform, half by inverse class frequency over equal ranges of the score
    uniform      every patch alike, as stock BasicSR would draw if its images were all of one size
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wbsr_data.difficulty import class_probabilities

if TYPE_CHECKING:
    from wbsr_data.hes_options import HESOptions

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]


def hierarchical(counts: Counts, options: HESOptions) -> Shares:
    """P_k of Eq. 8, bounded."""
    return class_probabilities(counts, options.delta, options.max_repeat)


def hardest(counts: Counts, options: HESOptions) -> Shares:
    """Uniform over the hardest share of the patches: whole classes from the top, and a part of the next."""
    wanted = options.hardest * counts.sum()
    above = np.cumsum(counts[::-1])[::-1] - counts  # candidates of harder classes
    shares: Shares = np.clip(wanted - above, 0, counts) / wanted
    return shares


def half_inverse(counts: Counts, options: HESOptions) -> Shares:
    """The mean of uniform drawing and (bounded) inverse class frequency."""
    return (uniform(counts, options) + class_probabilities(counts, 1.0, options.max_repeat)) / 2


def uniform(counts: Counts, options: HESOptions) -> Shares:
    """N_k / N."""
    shares: Shares = counts / counts.sum()
    return shares


@dataclass(frozen=True)
class Sampling:
    """A sampling: P_k from the counts N_k of the classes, and its own defaults for the `hes` block."""

    shares: Callable[[Counts, HESOptions], Shares]
    defaults: Mapping[str, Any] = field(default_factory=dict)


SAMPLINGS = {
    "hes": Sampling(hierarchical),
    "samplingaug": Sampling(hardest, {"score": "bilinear", "sample_level": 0.0}),
    "bspa": Sampling(half_inverse, {"score": "std", "thresholds": "linear", "sample_level": 0.0}),
    "uniform": Sampling(uniform, {"sample_level": 1.0}),
}
