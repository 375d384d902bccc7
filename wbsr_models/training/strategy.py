"""Which subnets run in one training step. Their gradients add up before the one optimiser step.

* `random`, the default: one of them; `sandwich`: the cheapest, `random_subnets` others, and the full network; `all`:
  every one. docs/findings/strategies.md measures them at equal training cost.

With `power` p, a subnet of cost C is drawn with a probability in proportion to C^p: above 0 favours the large ones. The
draw depends on seed and iteration alone, so all processes of a run make the same one, and a resumed run goes on with
the sequence.

With `full_first`, the full network is trained alone for that share of the training, and then as the strategy has it:
networks that start near zero, such as MSRResNet, leave it sooner if all steps push the same way.

With `distillation`, each subnet learns from the full network's output beside the HR patch. With a `subnet_weight` below
1 the weights that all share follow the full network first. The two are for adopting a network that is trained already:
docs/findings/adopt.md measures them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from wbsr_arch.subnet import Subnet
from wbsr_base.options import parse

_LEAST_CHANCE = 1e-290  # so that no subnet is out of reach where several are drawn


@dataclass(frozen=True)
class StrategyOptions:
    """The block `train:supernet`.

    Args:
        strategy: `random`, `sandwich` or `all`.
        random_subnets: subnets that `sandwich` draws besides the cheapest and the full network.
        power: p of the probability of a draw, C^p; 0 is uniform.
        full_first: share of the training at whose start the full network is trained alone, in [0, 1).
        distillation: weight of the loss between a subnet's output and the full network's of the same step, detached; 0
            leaves it out.
        subnet_weight: of all losses of a subnet beside those of the full network, whose weight is 1, in the same step.

    Raises:
        ValueError: a number out of its range, or an option without what it needs.
    """

    strategy: Literal["random", "sandwich", "all"] = "random"
    random_subnets: int = 1
    power: float = 0.0
    full_first: float = 0.0
    distillation: float = 0.0
    subnet_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.random_subnets < 0:
            raise ValueError(f"random_subnets must be at least 0, got {self.random_subnets}")
        if self.random_subnets != 1 and self.strategy != "sandwich":
            raise ValueError(
                f"random_subnets is an option of strategy `sandwich`, got {self.random_subnets} with "
                f"`{self.strategy}`: set strategy: sandwich, or leave random_subnets out"
            )
        if not math.isfinite(self.power):
            raise ValueError(f"power must be a finite number, got {self.power}")
        if not 0 <= self.full_first < 1:
            raise ValueError(f"full_first must be in [0, 1), got {self.full_first}")
        if not 0 <= self.distillation < math.inf:
            raise ValueError(f"distillation must be at least 0, got {self.distillation}")
        if not 0 < self.subnet_weight < math.inf:
            raise ValueError(f"subnet_weight must be above 0, got {self.subnet_weight}")
        for name, unused in (("distillation", 0), ("subnet_weight", 1)):
            if self.strategy == "random" and getattr(self, name) != unused:
                raise ValueError(
                    f"{name} needs the full network in every step, which strategy `random` does not run: use "
                    f"`sandwich` or `all`, or leave {name} out"
                )


def strategy_options(opt: dict[str, Any]) -> StrategyOptions:
    """The block `train:supernet` of an option file.

    Raises:
        ValueError, TypeError: something in it is wrong.
    """
    return parse(StrategyOptions, opt.get("train", {}).get("supernet"), "train:supernet")


def draw_subnets(
    options: StrategyOptions, costs: dict[Subnet, int], seed: int, iteration: int, done: float = 1.0
) -> list[Subnet]:
    """The subnets of training step `iteration`, each once.

    Args:
        options: the strategy.
        costs: the cost of every subnet, in order of cost, the full network last.
        seed: of the run.
        iteration: number of the step.
        done: share of the training that is done before it.

    Returns:
        The subnets, the full network last if it is among them.
    """
    subnets = list(costs)
    if done < options.full_first:
        return subnets[-1:]
    if options.strategy == "all":
        return subnets
    generator = np.random.default_rng((seed, iteration))
    if options.strategy == "random":
        return _draw(subnets, 1, costs, options.power, generator)
    between = _draw(subnets[1:-1], options.random_subnets, costs, options.power, generator)
    return list(dict.fromkeys([subnets[0], *between, subnets[-1]]))


def _draw(
    subnets: Sequence[Subnet], number: int, costs: dict[Subnet, int], power: float, generator: np.random.Generator
) -> list[Subnet]:
    """Draw without repetition; in order of cost."""
    number = min(number, len(subnets))
    if number == 0:
        return []
    logs = power * np.log([costs[subnet] for subnet in subnets])
    chances = np.maximum(np.exp(logs - logs.max()), _LEAST_CHANCE)
    drawn = generator.choice(len(subnets), number, replace=False, p=chances / chances.sum())
    return [subnets[index] for index in sorted(drawn)]
