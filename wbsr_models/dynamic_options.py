"""The block `val:dynamic` of an option file: how validation and tests route, and what they compare.

val:
  dynamic: {routing: paper, halo: 4, compare: false, save_map: true}

A list of budgets makes a test measure the quality curve, from the same weights:

val:
  dynamic: {routing: paper, budget: [0.2, 0.4, 0.6, 0.8]}

and so does a list of `eta` for ARM's rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wbsr_base.options import parse
from wbsr_data.training_sets import difficulty_classes
from wbsr_models.policy import Cost, Over, Routing
from wbsr_models.precision import Precision
from wbsr_models.protocol import Protocol
from wbsr_models.tiling import DEFAULT_HALO


@dataclass(frozen=True)
class DynamicOptions:
    """The block `val:dynamic`.

    `routing`, `budget` and `eta` (one number), `alpha` and `cost` are those of `wbsr_models.policy.Routing`. A list as
    `budget` lets a test measure each of them, after what `routing` says (for `budget` and `eq16`: the first); a list as
    `eta` likewise, by routing `arm`. `budget_over` says what a budget is kept over: every `image`, the default for one
    number, or the mean of the test `set`, for a list.
    `halo`, `max_tile`, `precision`, `memory_mb`, `compile` and `self_ensemble` are those of `DynamicUpscaler`.
    `patch_size` in LR pixels and `thresholds` (K-1 scores) are known from training and need not be given; `compare`
    lets a test also measure the full network, every subnet, the full network on whole images (`dense`) and `bicubic`,
    as a list of budgets does; `save_map` saves the subnet map beside each SR image. `protocol` is how images are
    tested: `whole`, or `classsr` as ClassSR and ARM do, by patches of 32 LR pixels, without the borders that these
    leave (`wbsr_models.protocol`).
    """

    routing: str = "paper"
    budget: float | tuple[float, ...] | None = None
    alpha: float | None = None
    eta: float | tuple[float, ...] | None = None
    cost: Cost = "flops"
    budget_over: Over | None = None
    halo: int = DEFAULT_HALO
    max_tile: int = 256
    precision: Precision = "float32"
    memory_mb: float | None = None
    compile: bool = False
    self_ensemble: bool = False
    patch_size: int | None = None
    thresholds: tuple[float, ...] | None = None
    compare: bool = False
    save_map: bool = False
    protocol: Protocol = "whole"

    def __post_init__(self) -> None:
        for name in ("budget", "eta"):
            if getattr(self, name) == ():
                raise ValueError(f"{name} must be a number or a list with one at least, got an empty list")
        if isinstance(self.budget, tuple) and isinstance(self.eta, tuple):
            raise ValueError("a test measures one curve: give a list as budget or as eta, not both")
        self.requests()

    def requests(self) -> list[tuple[str, Routing]]:
        """Names and routings to measure: `routing` itself first, then the budgets of the curve.

        Raises:
            ValueError: they contradict each other.
        """
        if isinstance(self.eta, tuple):
            arm = [(f"arm {each:g}", Routing("arm", cost=self.cost, eta=each)) for each in self.eta]
            return arm if self.routing == "arm" else [(self.routing, self._one(None)), *arm]
        if not isinstance(self.budget, tuple):
            return [(self.routing, self._one(self.eta))]
        mode = self.routing if self.routing in ("budget", "eq16") else "budget"
        over = self.budget_over or ("set" if mode == "budget" else "image")
        curve = [(f"{mode} {each:g}", Routing(mode, each, self.alpha, self.cost, over)) for each in self.budget]
        return curve if mode == self.routing else [(self.routing, Routing(self.routing, cost=self.cost)), *curve]

    def _one(self, eta: float | None) -> Routing:
        budget = None if isinstance(self.budget, tuple) else self.budget
        return Routing(self.routing, budget, self.alpha, self.cost, self.budget_over or "image", eta)


def dynamic_options(opt: dict[str, Any], routing: str = "paper") -> DynamicOptions:
    """The block `val:dynamic` of an option file.

    Args:
        opt: all options.
        routing: where the block names none.

    Raises:
        ValueError, TypeError: something in it is wrong, or `paper` routing will have no difficulty classes.
    """
    block = (opt.get("val") or {}).get("dynamic") or {}
    if isinstance(block, Mapping):
        block = {"routing": routing, **block}
    dynamic = parse(DynamicOptions, block, "val:dynamic")
    train = opt.get("datasets", {}).get("train")
    if train is not None and dynamic.requests()[0][1].by_edge:
        raise ValueError(
            "val:dynamic:routing `arm` needs the edge table, which `wbsr calibrate --edge-table` measures once the "
            "training is over: validate by routing: full"
        )
    no_classes = train is not None and difficulty_classes(train) is None and dynamic.thresholds is None
    if no_classes and dynamic.requests()[0][1].by_class:
        raise ValueError(
            f"val:dynamic:routing `{dynamic.routing}` needs difficulty classes, which the training set of type "
            f"{train.get('type')} does not have: use HESPairedImageDataset (hes:sample_level: 1.0 keeps its sampling "
            "uniform), give val:dynamic:thresholds, or use routing: full"
        )
    return dynamic


def check_network(opt: dict[str, Any], model: str, network_type: str) -> None:
    """Refuse an architecture that a model is not for.

    Raises:
        ValueError: `network_g:type` is another than `network_type`.
    """
    got = opt["network_g"].get("type")
    if got != network_type:
        raise ValueError(f"{model} is for {network_type} alone: network_g:type must be {network_type}, got {got!r}")
