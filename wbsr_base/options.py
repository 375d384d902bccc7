"""Option blocks of a YAML file as typed, frozen objects.

Every block of ours (`hes`, `dynamic`, ...) is a frozen dataclass. `parse` turns the mapping that YAML delivered into
one, once, at the edge; unknown keys, missing keys and values of another type are errors that say what to write.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def parse(cls: type[T], block: Mapping[str, Any] | None, where: str) -> T:
    """Build the dataclass `cls` from an option block.

    Args:
        cls: a dataclass; its fields are the keys the block may have, its `__post_init__` checks their values.
        block: what YAML delivered; None stands for an empty block.
        where: the block's place in the option file, such as `datasets:train:hes`, for the errors.

    Raises:
        ValueError: a key that is unknown or missing, or a value that breaks a rule of `cls`.
        TypeError: a value of another type than the field's.
    """
    if block is None:
        block = {}
    if not isinstance(block, Mapping):
        raise TypeError(f"{where} must be a block of keys, got {block!r}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in block:
        if key not in fields:
            raise ValueError(f"{where}: unknown key {key!r}{suggest(str(key), fields)}")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if not optional and name not in block:
            raise ValueError(f"{where}: the key {name!r} is missing")
    hints = get_type_hints(cls)
    values = {key: _convert(value, hints[key], f"{where}:{key}") for key, value in block.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def suggest(word: str, known: Any) -> str:
    """A tail for an error about an unknown `word`: the nearest of the `known` words, and all of them."""
    names = sorted(str(name) for name in known)
    near = difflib.get_close_matches(word, names, n=1)
    return (f": did you mean {near[0]!r}?" if near else "") + f" (known: {', '.join(names)})"


def _convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`; integers pass for floats and lists for tuples, nothing else is bent."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, args, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where} must be one of {', '.join(map(str, args))}, got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} must be a block of keys, got {value!r}")
        return dict(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else parse(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(f"{where} must be {_NAMES.get(hint, hint.__name__)}, got {value!r}{_number_hint(value, hint)}")
    return value


def _convert_union(value: Any, hints: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    choices = [hint for hint in hints if hint is not type(None)]
    for hint in choices:
        try:
            return _convert(value, hint, where)
        except (TypeError, ValueError):
            if hint is choices[-1]:
                raise
    raise AssertionError("unreachable: a union has at least one choice")


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _number_hint(value: Any, hint: Any) -> str:
    """YAML reads `2e-4` as text; say so where a number was wanted."""
    if hint not in (int, float) or not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    text = f"{number:e}" if hint is float else f"{number:.0f}"
    return f", which YAML reads as text: write {text}"
