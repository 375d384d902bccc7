"""Which subnets run in one training step. Their gradients add up before the one optimiser step.

* `random`: one of them, uniformly;
* `sandwich`: the cheapest, the full network, and `random_subnets` of the others, drawn without repetition;
* `all`: every one.

The draw depends on seed and iteration alone, so all processes of a run make the same one, and a resumed run goes on
with the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wbsr_arch.subnet import Subnet


@dataclass(frozen=True)
class StrategyOptions:
    """The block `train:supernet`."""

    strategy: Literal["random", "sandwich", "all"] = "sandwich"
    random_subnets: int = 1

    def __post_init__(self) -> None:
        if self.random_subnets < 0:
            raise ValueError(f"random_subnets must be at least 0, got {self.random_subnets}")


def draw_subnets(options: StrategyOptions, subnets: Sequence[Subnet], seed: int, iteration: int) -> list[Subnet]:
    """The subnets of training step `iteration`; `subnets` are in order of cost."""
    if options.strategy == "all":
        return list(subnets)
    generator = np.random.default_rng((seed, iteration))
    if options.strategy == "random":
        return [subnets[int(generator.integers(len(subnets)))]]
    ends = list(dict.fromkeys((subnets[0], subnets[-1])))
    between = subnets[1:-1]
    drawn = generator.permutation(len(between))[: options.random_subnets]
    return ends + [between[index] for index in drawn]
