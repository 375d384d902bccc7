"""Command-line arguments that ask for a routing policy, made from the policies' own options."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from typing import Any

from wbsr_base.options import add_arguments
from wbsr_models.routing.policies import POLICIES, asked_by, knobs, make_policy, option_names
from wbsr_models.routing.policy import Policy


def add_routing_arguments(group: argparse._ArgumentGroup) -> None:
    """Add `--mode` and an argument for each option of a policy; None where one is not given."""
    told = "; ".join(f"{name}: {_first_line(kind)}" for name, kind in POLICIES.items())
    group.add_argument("--mode", "--routing", choices=tuple(POLICIES), help=f"{told} (default: the weights' own)")
    added: set[str] = set()
    for kind in (*knobs().values(), *POLICIES.values()):  # an option of several is told as its owner tells it
        add_arguments(group, kind, leave_out=added & {f.name for f in dataclasses.fields(kind)}, optional=True)
        added |= {field.name for field in dataclasses.fields(kind)}


def policy_of(arguments: argparse.Namespace, own: Policy) -> Policy:
    """The policy that the arguments ask for.

    Args:
        arguments: what a parser with `add_routing_arguments` has read.
        own: what runs where they ask for none, with those of its options that they give.

    Raises:
        ValueError: they contradict each other, or a number is out of its range.
    """
    if arguments.subnet is not None and arguments.mode is not None:
        raise ValueError(f"--subnet {arguments.subnet} is a mode of its own: leave out --mode {arguments.mode}")
    asked, mode = _asked(arguments), asked_mode(arguments)
    if mode is not None:
        return make_policy(mode, asked)
    given = {name: value for name, value in asked.items() if value is not None}
    return make_policy(own.mode, {**{name: value for name, value in vars(own).items() if name != "subnet"}, **given})


def asked_mode(arguments: argparse.Namespace) -> str | None:
    """The policy that the arguments name or imply; None if they ask for none."""
    mode: str | None = arguments.mode or asked_by(_asked(arguments))
    return mode


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in option_names()}


def _first_line(kind: type[Policy]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").splitlines()[0].rstrip(".").replace("%", "%%")
