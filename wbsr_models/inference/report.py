"""What one run of dynamic inference did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wbsr_models.routing.choice import Choice


@dataclass(frozen=True)
class Report:
    """What one run did.

    `choice`: (rows, cols) subnet number of each patch, in order of FLOPs, -1 for bicubic interpolation; `cost_share`:
    mean cost of the patches' subnets over the full network's, as the routing counts cost, so what a budget bounds;
    `flops_share`: the same in FLOPs, the paper's rule; `flops_share_run`: FLOPs computed, with halos as trimmed, joined
    tiles and the router; `milliseconds`: wall-clock, until the device was done; `router_share`: FLOPs of the network
    that routes a patch over those of the full network on it, which the paper's rule leaves out; 0 where none is run;
    `plan`: the kind of plan that ran; `why`: by plan that was thought of, the seconds that it was predicted to take, by
    arithmetic of a device in general unless times were measured.
    """

    choice: Choice
    cost_share: float
    flops_share: float
    flops_share_run: float
    milliseconds: float
    router_share: float = 0.0
    plan: str = "tiles"
    why: Mapping[str, float] = field(default_factory=dict)
