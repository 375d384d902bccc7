"""What an option file hands on to a constructor or function, compared with its signature: names, types and ranges."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from wbsr.checks.kinds import FLAG, SIZE, TEXT, Kind, is_list, list_of, number, one_of, whole
from wbsr_base.options import suggest

_MOST = 4096  # blocks, groups, heads and the like
_ARGUMENTS = {  # by name, where the default does not say it
    **dict.fromkeys(("num_in_ch", "num_out_ch", "num_feat", "num_grow_ch", "in_chans", "upscale"), SIZE),
    "crop_border": whole(0),
    "input_order": one_of("HWC"),  # that of the images that BasicSR's models hand to a metric
    "better": one_of("higher", "lower"),
    "loss_weight": number(least=0),
    "reduction": one_of("mean", "sum"),
    "lr": number(least=0),
    "weight_decay": number(least=0),
    "eps": number(least=0),
    "betas": Kind(
        "two numbers from 0 to below 1",
        lambda value: is_list(value) and len(value) == 2 and all(number(least=0).fits(b) and b < 1 for b in value),
    ),
    "milestones": list_of(whole(0).fits, "a list of iterations"),
    "restarts": list_of(whole(0).fits, "a list of iterations"),
    "restart_weights": list_of(number().fits, "a list of numbers"),
    "gamma": number(above=0),
    "periods": Kind(
        "a list of numbers of iterations above 0", lambda v: is_list(v) and len(v) > 0 and all(map(SIZE.fits, v))
    ),
    "eta_min": number(least=0),
    "layer_weights": Kind(
        "a block of layers and their weights",
        lambda value: isinstance(value, Mapping) and bool(value) and all(map(number().fits, value.values())),
    ),
}


def check_keywords(
    made: Any, options: Mapping[str, Any], where: str, given: tuple[str, ...], extra: tuple[str, ...] = ()
) -> None:
    """Compare options with the signature that takes them.

    Args:
        made: a class or function.
        options: what the file hands to it.
        where: the block's place, for the errors.
        given: parameters that the caller fills in.
        extra: keys that are taken out before the call.

    Raises:
        ValueError: an option that no parameter takes (a `**kwargs` counts only outside of BasicSR, whose own swallow
            slips), or a parameter without a default that no option fills.
    """
    signature = inspect.signature(made.__init__ if inspect.isclass(made) else made)
    named = {name: p for name, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    known = [name for name in named if name not in given]
    swallows = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    if not swallows or made.__module__.startswith("basicsr."):
        for key in options:
            if key not in known and key not in extra:
                raise ValueError(f"{where}: {made.__name__} takes no option {key!r}{suggest(key, [*known, *extra])}")
    for name in known:
        if named[name].default is inspect.Parameter.empty and name not in options:
            raise ValueError(f"the key {where}:{name} is missing: {made.__name__} needs it")


def check_arguments(made: Any, options: Mapping[str, Any], where: str) -> None:
    """Check what a file hands to a class or function of BasicSR's or torch's, by its arguments' names and defaults.

    Raises:
        ValueError: the first value of another kind than its argument's.
    """
    if made.__module__.split(".")[0] not in ("basicsr", "torch"):
        return
    parameters = inspect.signature(made.__init__ if inspect.isclass(made) else made).parameters
    for name, value in options.items():
        if name in parameters or name == "better":
            kind = _kind_of(name, parameters[name].default if name in parameters else "higher")
            if kind is not None:
                kind.check(value, f"{where}:{name}")


def _kind_of(name: str, default: Any) -> Kind | None:
    if name in _ARGUMENTS:
        return _ARGUMENTS[name]
    if isinstance(default, bool):
        return FLAG
    if isinstance(default, int):
        return whole(0, _MOST) if name.startswith("num_") else number()
    if isinstance(default, float):
        return number()
    if isinstance(default, str):
        return TEXT
    return Kind("a list", is_list) if isinstance(default, (list, tuple)) else None
