"""Values of a wrong type or out of their range, for the keys that BasicSR reads."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from wbsr.checks.basicsr_keys import LOOP, OF_CLASSES
from wbsr.checks.components import registered
from wbsr.checks.kinds import FLAG, PATH, TEXT, Kind, list_of
from wbsr.checks.reading import reads

_PATH_KINDS = {"pretrain_network": PATH.or_none(), "param_key": TEXT.or_none(), "strict_load": FLAG}


LARGEST = 1e15  # the fastest machine does not count so far


def check_values(opt: Mapping[str, Any], is_train: bool) -> None:
    """Check the values of BasicSR's keys.

    A key of a class that is not BasicSR's has the kind of BasicSR's only if a class of BasicSR below it reads it.

    Raises:
        ValueError: the first value of another kind than the key's.
    """
    _check_sizes(opt, "")
    model = _reads_of_basicsr("model", opt.get("model_type"))
    for place in ("", "train", "val", "logger", "logger:wandb", "dist_params"):
        if not is_train and place.split(":")[0] in ("train", "logger"):
            continue  # a test does not read them
        content: Any = opt
        for key in place.split(":") if place else ():
            content = content.get(key) if isinstance(content, Mapping) else None
        kinds = dict(LOOP[place])
        if not is_train and not place:
            kinds = {key: kind for key, kind in kinds.items() if key not in ("train", "logger")}
        kinds |= {k: kind for k, kind in OF_CLASSES.get(place, {}).items() if k in model.get(place, set())}
        _check_block(content, kinds, f"{place}:" if place else "")
    for phase, content in (opt.get("datasets") or {}).items():
        own = _reads_of_basicsr("dataset", content.get("type") if isinstance(content, Mapping) else None).get("", set())
        kinds = LOOP["datasets:*"] | {k: kind for k, kind in OF_CLASSES["datasets:*"].items() if k in own}
        _check_block(content, kinds, f"datasets:{phase}:")
    for key, value in (opt.get("path") or {}).items():
        kind = next((kind for start, kind in _PATH_KINDS.items() if str(key).startswith(start)), PATH.or_none())
        if key == "ignore_resume_networks":
            kind = list_of(TEXT.fits, "a list of networks, such as [network_d]").or_none()
        kind.check(value, f"path:{key}")


def _check_sizes(value: Any, where: str) -> None:
    """Refuse numbers that no option takes: neither finite, nor small enough for 64 bits."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_sizes(inner, f"{where}:{key}" if where else key)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_sizes(inner, where)
    elif isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= LARGEST):
        raise ValueError(f"{where} must be a number of at most {LARGEST:.0e}, got {value}")


def _check_block(content: Any, kinds: Mapping[str, Kind], where: str) -> None:
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key in kinds:
                kinds[key].check(value, f"{where}{key}")


def _reads_of_basicsr(kind: str, name: Any) -> dict[str, set[str]]:
    made: Any = registered(kind, name) if isinstance(name, str) else None
    return reads(made).of_basicsr if inspect.isclass(made) else {}
