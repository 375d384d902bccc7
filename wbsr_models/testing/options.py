"""The block `val:dynamic` of an option file: how validation and tests route and compute, and what they compare.

val:
  dynamic: {routing: paper, compare: false, save_map: true}

Its keys are those of `TestOptions`, of `EngineSettings`, `routing`, and the options of the policies (`Routing`). A list
as a policy's knob, such as `budget`, makes a test measure the curve, each value from the same weights:

val:
  dynamic: {routing: paper, budget: [0.2, 0.4, 0.6, 0.8]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wbsr_base.options import parse, suggest
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.routing.policies import knobs, make_policy, option_names, takes
from wbsr_models.routing.policy import Policy
from wbsr_models.routing.profile import FROM_TRAINING, NEEDED
from wbsr_models.testing.protocol import Protocol
from wbsr_models.testing.training_sets import difficulty_classes

_PLAN = "tiles"  # whose quality is that of the subnets which are asked for, on every device; `auto` may give more

Requests = tuple[tuple[str, Policy], ...]


@dataclass(frozen=True)
class TestOptions:
    """What a validation or a test measures, beside how it routes and computes.

    Args:
        patch_size: side of the routed patches in LR pixels; known from training, and need not be given.
        thresholds: K-1 scores between the difficulty classes; known from training, and need not be given.
        compare: let a test also measure the full network, every subnet, the full network on whole images as BasicSR
            runs it (`dense`), and `bicubic`, as a list of budgets does.
        save_map: save the subnet map beside each SR image.
        protocol: how images are tested: `whole`, or `classsr` as ClassSR and ARM do, by patches of 32 LR pixels,
            without the borders that these leave.
    """

    __test__ = False  # no test, whatever its name

    patch_size: int | None = None
    thresholds: tuple[float, ...] | None = None
    compare: bool = False
    save_map: bool = False
    protocol: Protocol = "whole"

    def __post_init__(self) -> None:
        if self.patch_size is not None and self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, got {self.patch_size}")


@dataclass(frozen=True)
class DynamicOptions:
    """The block `val:dynamic`: `requests`, names and policies to measure, what `routing` asks for first, then the rest
    of a curve; how to compute; and what to measure."""

    requests: Requests
    settings: EngineSettings
    test: TestOptions


def parse_dynamic(block: Mapping[str, Any] | None, where: str, routing: str = "paper") -> DynamicOptions:
    """The block as objects.

    Args:
        block: what YAML delivered; None stands for an empty block.
        where: its place, for the errors.
        routing: where the block names none.

    Raises:
        ValueError, TypeError: an unknown key, or a value that breaks a rule.
    """
    if block is not None and not isinstance(block, Mapping):
        raise TypeError(f"{where} must be a block of keys, got {block!r}")
    rest = dict(block or {})
    if "compile" in rest:
        rest["capture"] = _captured(rest.pop("compile"), rest.get("capture"), where)
    settings, test = (_taken(cls, rest) for cls in (EngineSettings, TestOptions))
    settings = {"plan": _PLAN, **settings}
    asked = {name: rest.pop(name) for name in option_names() if name in rest and name != "subnet"}
    mode = rest.pop("routing", routing)
    if not isinstance(mode, str):
        raise TypeError(f"{where}:routing must be a text, got {mode!r}")
    for key in rest:
        known = ["routing", *option_names(), *_names(EngineSettings), *_names(TestOptions)]
        raise ValueError(f"{where}: unknown key {key!r}{suggest(str(key), known)}")
    return DynamicOptions(
        _requests(mode, asked, where), parse(EngineSettings, settings, where), parse(TestOptions, test, where)
    )


def dynamic_options(opt: dict[str, Any], routing: str = "paper") -> DynamicOptions:
    """The block `val:dynamic` of an option file.

    Args:
        opt: all options.
        routing: where the block names none.

    Raises:
        ValueError, TypeError: something in it is wrong, or the training will not know what the routing needs.
    """
    dynamic = parse_dynamic((opt.get("val") or {}).get("dynamic"), "val:dynamic", routing)
    train = opt.get("datasets", {}).get("train")
    if train is None:
        return dynamic
    policy = dynamic.requests[0][1].for_one_image()
    for field in policy.needs:
        if field not in FROM_TRAINING:
            raise ValueError(
                f"val:dynamic:routing `{policy.mode}` needs {NEEDED[field]} once the training is over: validate by "
                "routing: full"
            )
    no_classes = difficulty_classes(train) is None and dynamic.test.thresholds is None
    if no_classes and "thresholds" in policy.needs:
        raise ValueError(
            f"val:dynamic:routing `{policy.mode}` needs difficulty classes, which the training set of type "
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


def _captured(compiled: Any, capture: Any, where: str) -> Any:
    """What `capture` is where the block says `compile`, its name in 0.1.0."""
    if not isinstance(compiled, bool):
        raise TypeError(f"{where}:compile must be true or false, got {compiled!r}: better write capture: compile")
    if compiled and capture not in (None, "compile"):
        raise ValueError(f"{where}: compile: true is capture: compile, got capture: {capture}: leave out one of them")
    return "compile" if compiled else capture or "auto"


def _requests(mode: str, asked: Mapping[str, Any], where: str) -> Requests:
    lists = {name: value for name, value in asked.items() if name in knobs() and isinstance(value, (list, tuple))}
    if not lists:
        return ((mode, make_policy(mode, asked, where)),)
    for name, values in lists.items():
        if not values:
            raise ValueError(f"{where}: {name} must be a number or a list with one at least, got an empty list")
    if len(lists) > 1:
        names = " or as ".join(lists)
        raise ValueError(f"{where}: a test measures one curve: give a list as {names}, not both")
    ((knob, values),) = lists.items()
    on_curve = mode if takes(mode, knob) else knobs()[knob].name
    others = {name: value for name, value in asked.items() if name != knob}
    curve = []
    for value in values:
        options = {name: other for name, other in others.items() if on_curve == mode or takes(on_curve, name)}
        defaults = knobs()[knob].on_a_curve if on_curve == knobs()[knob].name else {}
        curve.append((f"{on_curve} {value:g}", make_policy(on_curve, {**defaults, **options, knob: value}, where)))
    if on_curve == mode:
        return tuple(curve)
    own = {name: other for name, other in others.items() if takes(mode, name) or not takes(on_curve, name)}
    return ((mode, make_policy(mode, own, where)), *curve)


def _taken(cls: type, block: dict[str, Any]) -> dict[str, Any]:
    """What of a block is for a dataclass; it is taken out."""
    return {name: block.pop(name) for name in _names(cls) if name in block}


def _names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]
