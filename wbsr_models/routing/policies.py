"""The routing policies by name, and how a user asks for one.

paper        Eq. 15: the subnet by the difficulty class
eq16         Eq. 16 as we read it: the cost nearest to what the class deserves, under `budget` and `alpha`
budget       the least expected error at a mean cost of `budget`, by the checkpoint's error table
arm          ARM's rule: the best of `eta` times the PSNR that a patch's edges let expect, less the cost
classsr      the network's own classifier says; `ClassSR` has one
full, w36d4  one subnet everywhere

A policy of your own is a file with a subclass of `Policy`, and its entry here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wbsr_arch.subnet import Subnet
from wbsr_base.options import help_of, parse, suggest
from wbsr_models.routing.arm import Arm
from wbsr_models.routing.by_budget import Budget
from wbsr_models.routing.by_class import Eq16, Paper
from wbsr_models.routing.classifier import Classifier
from wbsr_models.routing.fixed import Fixed
from wbsr_models.routing.policy import Policy
from wbsr_models.routing.profile import Profile

if TYPE_CHECKING:
    from wbsr_arch.dynamic import DynamicNetwork

_ALL: tuple[type[Policy], ...] = (
    Paper,
    Eq16,
    Budget,
    Arm,
    Classifier,
    Fixed,
)
POLICIES: dict[str, type[Policy]] = {policy.name: policy for policy in _ALL}
DEFAULT_BUDGET = 0.6  # of networks with an error table


def Routing(mode: str = "paper", budget: float | None = None, **options: Any) -> Policy:  # noqa: N802  makes objects
    """The policy called `mode`, with its options.

    Args:
        mode: a name of `POLICIES`, or a subnet's, such as `w36d4`.
        budget: mean cost as a share of the full network's, in (0, 1]; for `budget` and `eq16`.
        options: further fields of the policy; None is as if it were not given.

    Raises:
        ValueError: an unknown mode, an option that it doesn't take, lacks, or that is out of its range.
        TypeError: an option that no policy has.
    """
    return make_policy(mode, {"budget": budget, **options})


def make_policy(mode: str, options: Mapping[str, Any], where: str = "") -> Policy:
    """What `Routing` gives, from its options in one mapping; raises what it raises.

    Args:
        mode: as for `Routing`.
        options: by name; None is as if it were not given.
        where: their place in an option file, for the errors.
    """
    given, start = {name: value for name, value in options.items() if value is not None}, f"{where}: " if where else ""
    kind = POLICIES.get(mode)
    if kind is None:
        kind, given = Fixed, {**given, "subnet": _subnet(mode, start)}
    taken = {field.name: field for field in dataclasses.fields(kind)}
    for name, value in given.items():
        if name not in option_names():
            raise TypeError(f"{start}routing has no option {name!r}{suggest(name, option_names())}")
        if name not in taken:
            raise ValueError(f"{start}routing `{mode}` takes no {name}, got {value}: use routing `{_owner(name).name}`")
    for name, field in taken.items():
        if field.default is dataclasses.MISSING and name not in given:
            raise ValueError(f"{start}routing `{mode}` needs {name}: {help_of(kind)[name]}")
    return parse(kind, given, where or f"routing `{mode}`")


def option_names() -> list[str]:
    """The options of all policies, each once."""
    return list(dict.fromkeys(field.name for kind in POLICIES.values() for field in dataclasses.fields(kind)))


def takes(mode: str, option: str) -> bool:
    """Whether the policy called `mode`, or the one for a subnet's name, has an option."""
    return option in {field.name for field in dataclasses.fields(POLICIES.get(mode, Fixed))}


def knobs() -> dict[str, type[Policy]]:
    """The options that ask for a policy, and which."""
    return {kind.knob: kind for kind in POLICIES.values() if kind.knob is not None}


def asked_by(options: Mapping[str, Any]) -> str | None:
    """The mode that options ask for where none is named: that of the first knob which is given."""
    return next((kind.name for knob, kind in knobs().items() if options.get(knob) is not None), None)


def default_policy(network: DynamicNetwork, profile: Profile, router_is_trained: bool = True) -> Policy:
    """How a network routes if nobody says: by its own classifier if that is trained, by a budget if its error table
    says what that buys, else by `paper` or, without difficulty classes, `full`."""
    if network.router is not None and router_is_trained:
        return Classifier()
    if profile.error_table is not None:
        return Budget(DEFAULT_BUDGET)
    return Fixed() if profile.thresholds is None else Paper()


def told(policy: Policy) -> str:
    """A policy in a few words, such as `budget 0.6`."""
    return " ".join([policy.mode, *(f"{value:g}" for value in policy.point.values())])


def with_budget(policy: Policy, budget: float) -> Policy:
    """Another budget: of the policy's own option if it has one, otherwise of policy `budget`."""
    if takes(policy.name, "budget"):
        return dataclasses.replace(policy, budget=budget)  # type: ignore[call-arg]
    return Budget(budget, cost=policy.cost, flat=policy.flat)


def _owner(option: str) -> type[Policy]:
    """The policy to use for an option: whose knob it is, or else the first that has it."""
    return knobs().get(option) or next(kind for name, kind in POLICIES.items() if takes(name, option))


def _subnet(mode: str, start: str) -> str:
    try:
        Subnet.parse(mode)
    except ValueError as error:
        known = ", ".join(POLICIES)
        raise ValueError(f"{start}routing must be one of {known}, or a subnet such as w36d4, got {mode!r}") from error
    return mode
