"""Our option blocks: where each stands in an option file, what it is made from, and all of them as a JSON schema.

Editors that know YAML complete and check an option file by the schema. It is made from dataclasses and constructors:
types from their hints, defaults as they are, descriptions from the `Args:` of their docstrings. What BasicSR or another
plugin reads is left open.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wbsr_base.options import help_of


@dataclass(frozen=True)
class Block:
    """One of our option blocks, or an option that is a plain number.

    Args:
        where: its place in the option file; `*` stands for any name.
        made_from: "module:class", whose fields or constructor's arguments are its keys; none for a plain number.
        type: what its key `type` must be; empty for a block that is ours alone.
        hints: "module:class" whose hints are more exact than those of `made_from`.
        about: what a plain number is, or a block whose keys stand beside others'.
        beside: its keys are no block of their own: they stand beside the other keys of the block `where`.
        policies: "module:table" of the routing policies by name, one of which its key `routing` names; its other keys
            are also their options, of which a knob may be a list.
    """

    where: str
    made_from: tuple[str, ...] = ()
    type: str = ""
    hints: str = ""
    about: str = ""
    policies: str = ""
    beside: bool = False


BLOCKS = (
    Block("network_g", ("wbsr_arch.supernet:Supernet",), type="Supernet"),
    Block("network_g", ("wbsr_arch.classsr:ClassSR",), type="ClassSR"),
    Block(
        "datasets:*",
        ("wbsr_data.resident_options:ResidentOptions",),
        about="A data set; only keys of ours are checked.",
        beside=True,
    ),
    Block("datasets:*:hes", ("wbsr_data.hes.options:HESOptions", "wbsr_data.dda.options:DDAOptions")),
    Block("train:supernet", ("wbsr_models.training.strategy:StrategyOptions",)),
    Block("train:compute", ("wbsr_models.training.compute:ComputeOptions",)),
    Block("train:classsr", ("wbsr_models.training.classsr_options:ClassSROptions",)),
    Block(
        "train:pixel_opt",
        ("wbsr_losses.bd_loss:BDLoss",),
        type="BDLoss",
        hints="wbsr_losses.options:BDLossOptions",
    ),
    Block("train:weight_penalty", about="λ of λ‖θ‖², the third term of Eq. 14; at least 0."),
    Block(
        "val:dynamic",
        ("wbsr_models.inference.settings:EngineSettings", "wbsr_models.testing.options:TestOptions"),
        policies="wbsr_models.routing.policies:POLICIES",
    ),
)


@functools.cache
def own_options(blocks: tuple[Block, ...] = BLOCKS) -> dict[str, set[str]]:
    """The keys of each of our blocks that is ours alone, by its place."""
    found: dict[str, set[str]] = {}
    for block in blocks:
        if block.made_from and not block.type:
            names = [name for made in block.made_from for name in _arguments(_load(made))]
            policies = _policy_options(_load(block.policies)) if block.policies else {}
            found[block.where] = {*names, *policies}
    return found


def schema_text() -> str:
    """The schema as the text of a JSON file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema(blocks: Sequence[Block] = BLOCKS) -> dict[str, Any]:
    """The JSON schema (draft 7) of an option file, as far as it is ours."""
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "An option file of BasicSR with WBSR",
        "type": "object",
        "properties": {},
    }
    for block in blocks:
        *parents, key = block.where.split(":")
        place = root
        for parent in parents:
            place = _child(place, parent)
        if block.beside:
            inner = _child(place, key)
            inner["description"] = block.about
            inner["properties"] |= _object_schema([_load(name) for name in block.made_from], {})["properties"]
        elif not block.made_from:
            place["properties"][key] = {"type": "number", "minimum": 0, "description": block.about}
        elif block.type:
            _add_type(_child(place, key), block)
        else:
            place["properties"][key] = _block_schema(block)
    return root


def _child(place: dict[str, Any], name: str) -> dict[str, Any]:
    """The schema of the block `name` inside another, whose other keys are left open."""
    if name == "*":
        child: dict[str, Any] = place.setdefault("additionalProperties", {"type": "object", "properties": {}})
    else:
        child = place["properties"].setdefault(name, {"type": ["object", "null"], "properties": {}})
    return child


def _add_type(place: dict[str, Any], block: Block) -> None:
    """Add the options of one type to a block that names its type."""
    known = place["properties"].setdefault("type", {"anyOf": [{"enum": []}, {"type": "string"}]})["anyOf"][0]["enum"]
    known.append(block.type)
    ours = _block_schema(block)
    ours["properties"]["type"] = {"const": block.type}
    is_it = {"properties": {"type": {"const": block.type}}, "required": ["type"]}
    place.setdefault("allOf", []).append({"if": is_it, "then": ours})


def _block_schema(block: Block) -> dict[str, Any]:
    """The schema of a block; it may be empty where no key is needed."""
    classes = [_load(name) for name in block.made_from]
    made = _object_schema(classes, get_type_hints(_load(block.hints)) if block.hints else {})
    if block.policies:
        made["properties"] |= _policy_options(_load(block.policies))
    about = (inspect.getdoc(classes[0]) or "").split("\n\n")[0].replace("\n", " ")
    return {"description": about, **made, "type": "object" if "required" in made else ["object", "null"]}


def _policy_options(policies: Mapping[str, Any]) -> dict[str, Any]:
    """The key `routing`, and the options of all policies; the one whose knob an option is describes it."""
    modes = {"anyOf": [{"enum": list(policies)}, {"type": "string", "pattern": r"^w\d+d\d+$"}]}
    found: dict[str, Any] = {"routing": {**modes, "description": "how patches are routed, or one subnet's name."}}
    for kind in sorted(policies.values(), key=lambda kind: kind.knob is None):
        for name, one in _object_schema([kind], {})["properties"].items():
            if name not in found and name != "subnet":
                one.pop("default", None)
                text = {"description": one.pop("description")} if "description" in one else {}
                listed = {"type": "array", "items": dict(one), "minItems": 1}
                found[name] = {**({"anyOf": [one, listed]} if kind.knob == name else one), **text}
    return found


def _load(name: str) -> Any:
    module, _, member = name.partition(":")
    return getattr(importlib.import_module(module), member)


def _object_schema(classes: Sequence[type], exact: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a block that some classes share, and no others."""
    properties: dict[str, dict[str, Any]] = {}
    required = []
    for cls in classes:
        texts = help_of(cls)
        for name, (hint, default) in _arguments(cls).items():
            properties[name] = one = type_schema(exact.get(name, hint))
            if texts.get(name):
                one["description"] = texts[name]
            if default is inspect.Parameter.empty:
                required.append(name)
            else:
                one["default"] = list(default) if isinstance(default, tuple) else default
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**made, "required": required} if required else made


def _arguments(cls: type) -> dict[str, tuple[Any, Any]]:
    """By argument of a constructor, a dataclass's too: its type, and its default or `inspect.Parameter.empty`."""
    hints = get_type_hints(cls if dataclasses.is_dataclass(cls) else cls.__init__)  # type: ignore[misc]
    made: dict[str, Any] = {}
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            if field.default_factory is not dataclasses.MISSING:
                made[field.name] = field.default_factory()
    arguments = inspect.signature(cls).parameters.items()
    return {name: (hints[name], made.get(name, argument.default)) for name, argument in arguments}


_SIMPLE = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "string", type(None): "null"}


def type_schema(hint: Any) -> dict[str, Any]:
    """The JSON schema of a type, as `wbsr_base.options.parse` takes its values.

    Raises:
        TypeError: no schema is known for it.
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return {}
    if hint in _SIMPLE:
        return {"type": _SIMPLE[hint]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return _union_schema([type_schema(arg) for arg in args])
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _object_schema([hint], {})
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return {"type": "object"}
    if isinstance(kind, type) and issubclass(kind, Sequence):
        return {"type": "array", "items": type_schema(args[0])} if args else {"type": "array"}
    raise TypeError(f"no JSON schema is known for the type {hint}: add it to type_schema in wbsr/checks/schema.py")


def _union_schema(members: list[dict[str, Any]]) -> dict[str, Any]:
    if all(member.keys() == {"type"} for member in members):
        return {"type": list(dict.fromkeys(member["type"] for member in members))}
    return {"anyOf": members}
