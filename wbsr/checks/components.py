"""The registered types that an option file names, and the options it hands to them.

BasicSR finds an unknown type only once folders are made and data are scored, and a metric that is given
`test_y_chanel: true` swallows it and returns the RGB score.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wbsr.checks.arguments import check_arguments, check_keywords
from wbsr.checks.kinds import shown
from wbsr.checks.reading import reads
from wbsr_base.options import suggest

_LATER = {  # set by BasicSR, or needed in some cases, which other checks know
    *("rank", "world_size", "dist", "is_train", "num_gpu", "path", "name", "val", "train", "datasets", "suffix"),
    *("scheduler", "optim_g", "optim_d", "manual_seed", "total_iter", "metrics"),
}


@dataclass(frozen=True)
class Component:
    """Something that BasicSR builds by name: its registry, its place in the file, and its options without the type."""

    kind: str
    where: str
    options: Mapping[str, Any]
    type: Any


def components(opt: Mapping[str, Any], is_train: bool) -> Iterator[Component]:
    """All that the options name: networks, data sets, losses (of a training), metrics, and last the model."""
    for key in (key for key in opt if key.startswith("network_")):
        yield _component("arch", key, opt[key])
    for key, block in opt["datasets"].items():
        added = {"phase": key.split("_")[0]} | ({"scale": opt["scale"]} if "scale" in opt else {})
        yield _component("dataset", f"datasets:{key}", block | added)
    if is_train:
        for key, block in opt["train"].items():
            if key.endswith("_opt") and block:
                yield _component("loss", f"train:{key}", block)
    for key, block in ((opt.get("val") or {}).get("metrics") or {}).items():
        yield _component("metric", f"val:metrics:{key}", block)
    yield Component("model", "model_type", opt, opt["model_type"])


def _component(kind: str, where: str, block: Any) -> Component:
    if not isinstance(block, Mapping):
        raise TypeError(f"{where} must be a block of keys, got {block!r}")
    if "type" not in block:
        raise ValueError(f"the key {where}:type is missing: it names the {kind}")
    if not isinstance(block["type"], str):
        raise TypeError(f"{where}:type must be a text, the name of a {kind}, got {shown(block['type'])}")
    return Component(kind, where, block, block["type"])


def check_components(opt: Mapping[str, Any], is_train: bool) -> None:
    """Check each component's type, its options against the signature, and what its own `check_options` says.

    Raises:
        ValueError, TypeError, FileNotFoundError: the first fault found.
    """
    for component in components(opt, is_train):
        made = find(component)
        if component.kind == "model" and inspect.isclass(made):
            check_needed(made, opt, is_train)
        if component.kind in ("arch", "loss"):
            check_keywords(made, component.options, component.where, given=("self",), extra=("type",))
            check_arguments(made, component.options, component.where)
        elif component.kind == "metric":
            check_keywords(made, component.options, component.where, given=("img", "img2"), extra=("type", "better"))
            check_arguments(made, component.options, component.where)
        elif component.kind == "dataset":
            _check_pairs(made, component)
        own_check = getattr(made, "check_options", None)
        if own_check is not None:
            own_check(copy.deepcopy(dict(component.options)))


def check_needed(model: Any, opt: Mapping[str, Any], is_train: bool) -> None:
    """Check that the keys are there which a model of BasicSR takes without asking.

    Raises:
        ValueError: the first that is missing.
    """
    found = reads(model)
    for place in ("", "train", "val") if is_train else ("val",):
        block = opt.get(place, {}) if place else opt
        if block is None:  # no validation
            continue
        for key in sorted(found.of_basicsr.get(place, set()) - found.optional.get(place, set()) - _LATER):
            if key not in block:
                where = f"{place}:{key}" if place else key
                raise ValueError(f"the key {where} is missing: {model.__name__} needs it")
    if any(base.__name__ == "VideoBaseModel" for base in model.__mro__) and "metrics" not in (opt.get("val") or {}):
        raise ValueError(f"the key val:metrics is missing: {model.__name__} needs it; write `metrics: ~` for none")
    learns_against = found.of_basicsr.get("train", set())
    if is_train and "gan_opt" in learns_against and not opt["train"].get("gan_opt"):
        raise ValueError(f"the key train:gan_opt is missing: {model.__name__} needs it")


def _check_pairs(made: Any, component: Component) -> None:
    """The keys which BasicSR's paired data set reads at the start, or in its first item."""
    from wbsr_base.basicsr import PairedImageDataset

    if not issubclass(made, PairedImageDataset):
        return
    if "scale" not in component.options:
        raise ValueError("the key scale is missing: BasicSR needs it")
    in_training = ("gt_size", "use_hflip", "use_rot") if component.options["phase"] == "train" else ()
    for key in ("dataroot_gt", "dataroot_lq", "io_backend", *in_training):
        if component.options.get(key) is None:
            raise ValueError(f"the key {component.where}:{key} is missing: {made.__name__} needs it")


def find(component: Component) -> Any:
    """The class or function a component names.

    Raises:
        ValueError: its registry has no such name.
    """
    from wbsr_base.basicsr import registry

    made = registered(component.kind, component.type)
    if made is not None:
        return made
    names = getattr(registry, f"{component.kind.upper()}_REGISTRY")
    where = component.where if component.kind == "model" else f"{component.where}:type"
    raise ValueError(
        f"{where}: no {component.kind} is called {component.type!r}{suggest(str(component.type), names.keys())}"
    )


def registered(kind: str, name: str) -> Any:
    """What is registered as a `model`, `arch`, `dataset`, `loss` or `metric` of a name, or None."""
    from wbsr_base.basicsr import registry

    names = getattr(registry, f"{kind.upper()}_REGISTRY")
    return next((names.get(key) for key in (name, f"{name}_basicsr") if key in names), None)
