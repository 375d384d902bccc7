"""Routing policies: one interface, from what is known of an image's patches to the number of each patch's subnet.

paper        Eq. 15: the subnet by the class
eq16         Eq. 16 as we read it: the cost nearest to what the class deserves, under `budget` and `alpha`
budget       least expected error at a mean cost of `budget`, by the checkpoint's error table; where it has none, Eq. 16
             with the α that just keeps the budget
arm          ARM's rule: the best of `eta` times the PSNR that a patch's edges let expect, less the cost; by the
             checkpoint's edge table. It may choose bicubic interpolation, number -1
classsr      the network's own classifier says; `ClassSR` has one
full, w36d4  one subnet everywhere

A cost is a share of the full network's: 1 is the full network on every patch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wbsr_arch.subnet import Subnet
from wbsr_data.difficulty import classify
from wbsr_models.budget import allocate, in_proportion, steps_by_class, steps_by_error
from wbsr_models.edge_routing import EdgeTable, route_by_edge
from wbsr_models.routing import Choice, route_by_allocation, route_by_class, route_by_cost

Scores = NDArray[np.float32]  # (rows, cols) difficulty; for `classsr` (rows, cols, M), the classifier's logits
Policy = Callable[[Scores], Choice]
Cost = Literal["flops", "latency"]
Over = Literal["image", "set"]
_SET = 10**6  # patches of an imagined set, whose classes have the known shares
_BY_CLASS = ("paper", "eq16", "budget")
MODES = (*_BY_CLASS, "arm", "classsr", "full")


@dataclass(frozen=True)
class Routing:
    """How patches are routed, as a user asks for it.

    Args:
        mode: `paper`, `eq16`, `budget`, `arm`, `classsr`, `full`, or one subnet's name, such as `w36d4`.
        budget: mean cost as a share of the full network's, in (0, 1]; for mode `budget`, and as C_t for `eq16`
            (default 1).
        alpha: α of Eq. 16, above 0 (default 1); for mode `eq16` alone.
        cost: what a subnet costs: `flops`, or `latency` as measured on the device.
        over: what mode `budget` keeps its budget over: every `image`, or the mean of a `set` of images whose classes
            are as frequent as in calibration; then an image of more texture gets more, which serves the set better.
        eta: what one dB is worth to mode `arm`, as a share of the full network's cost, at least 0.

    Raises:
        ValueError: a number out of its range, missing, or given to a mode that doesn't take it.
    """

    mode: str = "paper"
    budget: float | None = None
    alpha: float | None = None
    cost: Cost = "flops"
    over: Over = "image"
    eta: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            try:
                Subnet.parse(self.mode)
            except ValueError as error:
                known = ", ".join(MODES)
                raise ValueError(
                    f"routing must be one of {known}, or a subnet such as w36d4, got {self.mode!r}"
                ) from error
        if self.mode == "budget" and self.budget is None:
            raise ValueError("routing `budget` needs a budget: give a share of the full network's cost, such as 0.6")
        if self.budget is not None:
            if self.mode not in ("budget", "eq16"):
                raise ValueError(f"routing `{self.mode}` takes no budget, got {self.budget}: use routing `budget`")
            if not 0 < self.budget <= 1:
                raise ValueError(f"budget must be in (0, 1], a share of the full network's cost, got {self.budget}")
        if self.over == "set" and self.mode != "budget":
            raise ValueError(f"routing `{self.mode}` keeps no budget over a set: use routing `budget`")
        if self.alpha is not None:
            if self.mode != "eq16":
                raise ValueError(f"routing `{self.mode}` takes no alpha, got {self.alpha}: use routing `eq16`")
            if not (self.alpha > 0 and math.isfinite(self.alpha)):
                raise ValueError(f"alpha must be above 0, got {self.alpha}")
        self._check_eta()

    def _check_eta(self) -> None:
        if self.mode == "arm" and self.eta is None:
            raise ValueError(
                "routing `arm` needs eta: give what one dB of a patch is worth as a share of the full network's cost, "
                "such as 0.5"
            )
        if self.eta is not None:
            if self.mode != "arm":
                raise ValueError(f"routing `{self.mode}` takes no eta, got {self.eta}: use routing `arm`")
            if not (self.eta >= 0 and math.isfinite(self.eta)):
                raise ValueError(f"eta must be at least 0 and finite, got {self.eta}")

    @property
    def fixed(self) -> bool:
        """Whether one subnet runs everywhere, whatever a patch is like."""
        return not (self.by_class or self.by_edge or self.mode == "classsr")

    @property
    def by_class(self) -> bool:
        """Whether the difficulty classes decide, so that their thresholds must be known."""
        return self.mode in _BY_CLASS

    @property
    def by_edge(self) -> bool:
        """Whether the edge scores decide, so that the edge table must be known."""
        return self.mode == "arm"


@dataclass(frozen=True)
class Knowledge:
    """What a checkpoint knows that routing needs.

    `thresholds`: K-1 increasing scores; `errors`: (K, M), the squared error of class k under subnet m; `shares`: (K,),
    how frequent the classes are; `edges`: the PSNR to expect by edge score. None: unknown. `has_router`: whether the
    network brings a classifier along.
    """

    thresholds: tuple[float, ...] | None = None
    errors: tuple[tuple[float, ...], ...] | None = None
    shares: tuple[float, ...] | None = None
    edges: EdgeTable | None = None
    has_router: bool = False

    def check(self, num_subnets: int) -> None:
        """Refuse tables that don't fit each other or the supernet.

        Raises:
            ValueError: the error table is not K x M, or the edge table is another supernet's.
        """
        if self.edges is not None:
            self.edges.check(num_subnets)
        if self.errors is None:
            return
        if self.thresholds is None or len(self.errors) != len(self.thresholds) + 1:
            classes = "no thresholds" if self.thresholds is None else f"{len(self.thresholds) + 1} classes"
            raise ValueError(
                f"the error table must have one row per difficulty class, got {len(self.errors)} rows for {classes}: "
                "run wbsr calibrate again"
            )
        for row in self.errors:
            if len(row) != num_subnets:
                raise ValueError(
                    f"the error table must have one column per subnet, got {len(row)} columns for {num_subnets} "
                    "subnets: run wbsr calibrate again"
                )


def make_policy(routing: Routing, subnets: Sequence[Subnet], costs: Sequence[float], known: Knowledge) -> Policy:
    """The policy that `routing` asks for.

    Args:
        routing: the request.
        subnets: the supernet's, the full network last in FLOPs.
        costs: C_m of each, as a share of the full network's.
        known: thresholds and tables.

    Raises:
        ValueError: an unknown mode, something that it needs is unknown, or a budget below the cheapest subnet's cost.
    """
    if routing.fixed:
        number = len(subnets) - 1 if routing.mode == "full" else _numbered(routing.mode, subnets)
        return lambda scores: np.full(scores.shape, number, dtype=np.int64)
    if routing.by_edge:
        return _by_edge(routing, costs, known.edges)
    if routing.mode == "classsr":
        if not known.has_router:
            raise ValueError(
                "routing `classsr` needs the classifier of a network of type ClassSR, which this one is not: use "
                "`paper`, `budget` or `full`"
            )
        return lambda logits: logits.argmax(-1)
    if known.thresholds is None:
        raise ValueError(
            f"routing `{routing.mode}` needs the thresholds of the difficulty classes, which training with "
            "HESPairedImageDataset or `wbsr calibrate` writes into the checkpoint; routing `full` does without"
        )
    if routing.mode == "budget":
        return _by_budget(routing, costs, known.thresholds, known)
    return _by_equation(routing, costs, known.thresholds)


def _by_equation(routing: Routing, costs: Sequence[float], thresholds: tuple[float, ...]) -> Policy:
    num_classes = len(thresholds) + 1
    if routing.mode == "paper":
        by_cost = np.argsort(costs, kind="stable")
        return lambda scores: by_cost[route_by_class(classify(scores, thresholds), num_classes, len(costs))]
    budget = 1.0 if routing.budget is None else routing.budget
    alpha = 1.0 if routing.alpha is None else routing.alpha
    return lambda scores: route_by_cost(classify(scores, thresholds), num_classes, costs, budget, alpha)


def _by_edge(routing: Routing, costs: Sequence[float], table: EdgeTable | None) -> Policy:
    if table is None:
        raise ValueError(
            "routing `arm` needs the edge table, which `wbsr calibrate --edge-table` writes into the checkpoint; "
            "routing `full` does without"
        )
    eta = routing.eta or 0.0
    return lambda scores: route_by_edge(scores, table, costs, eta)


def _by_budget(routing: Routing, costs: Sequence[float], thresholds: tuple[float, ...], known: Knowledge) -> Policy:
    num_classes, budget = len(thresholds) + 1, routing.budget or 0.0
    if budget < min(costs):
        raise ValueError(f"budget must be at least {min(costs):.4f}, the cheapest subnet's share, got {budget}")
    steps = steps_by_class(num_classes, costs) if known.errors is None else steps_by_error(known.errors, costs)
    whole = None
    if routing.over == "set":
        if known.shares is None:
            raise ValueError("a budget over a set needs the shares of the difficulty classes: run wbsr calibrate")
        whole = allocate(np.maximum(np.rint(_SET * np.array(known.shares)), 1), steps, costs, budget)

    def spend(scores: Scores) -> Choice:
        classes = classify(scores, thresholds)
        counts = np.bincount(classes.ravel(), minlength=num_classes + 1)[1:]
        spent = allocate(counts, steps, costs, budget) if whole is None else in_proportion(counts, whole)
        return route_by_allocation(scores, classes, spent, costs)

    return spend


def _numbered(mode: str, subnets: Sequence[Subnet]) -> int:
    """The number of the subnet that `mode` names."""
    subnet = Subnet.parse(mode)
    if subnet not in subnets:
        raise ValueError(f"routing to one subnet must name one of {', '.join(map(str, subnets))}, got {mode!r}")
    return subnets.index(subnet)
