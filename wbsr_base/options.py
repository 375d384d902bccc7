"""Option blocks of a YAML file as typed, frozen objects.

Every block of ours (`hes`, `dynamic`, ...) is a frozen dataclass. `parse` turns the mapping that YAML delivered into
one, once, at the edge; unknown keys, missing keys and values of another type are errors that say what to write.

The same dataclasses make arguments of the commands, by `add_arguments` and `from_arguments`. What a field means is
written once, in the `Args:` of the dataclass's docstring; `help_of` reads it for the commands and the JSON schema.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import inspect
import re
import types
from collections.abc import Callable, Collection, Mapping
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


def help_of(cls: type) -> dict[str, str]:
    """What each argument of a class is for, out of the `Args:` of its docstring and those of its bases.

    Args:
        cls: a class with a docstring in Google's style, `name: text` or `one, other: text`; lines that go on are
            indented further.

    Returns:
        By argument, its text in one line; empty without such a section.
    """
    found: dict[str, list[str]] = {}
    for base in reversed(cls.__mro__):
        lines = inspect.cleandoc(base.__dict__.get("__doc__") or "").splitlines()
        names: list[str] = []
        for line in lines[lines.index("Args:") + 1 :] if "Args:" in lines else ():
            if line and not line.startswith(" "):
                break
            entry = re.fullmatch(r" {4}(\w+(?:, \w+)*):(.*)", line)
            if entry:
                names = entry[1].split(", ")
                found |= {name: [] for name in names}
            for name in names:
                found[name].append(entry[2].strip() if entry else line.strip())
    return {name: " ".join(filter(None, lines)) for name, lines in found.items()}


def add_arguments(
    group: argparse.ArgumentParser | argparse._ArgumentGroup,
    cls: type,
    flags: Mapping[str, str] | None = None,
    leave_out: Collection[str] = (),
    optional: bool = False,
) -> None:
    """Add a command-line argument for each field of a dataclass, with its default, and its text of `help_of`.

    A field `max_tile` becomes `--max-tile` and is kept as `max_tile`; `from_arguments` makes the object. A bool is a
    switch, called `--no-…` where it is on by default; a `Literal` has choices; a tuple takes several values.

    Args:
        group: the parser, or a group of it.
        cls: the dataclass.
        flags: by field, another flag, such as {"self_ensemble": "--ensemble"}.
        leave_out: fields that become no arguments.
        optional: whether all may be left out, without a default: None says that one was not given. Switches have a
            `--no-…` beside them then.

    Raises:
        ValueError: `flags` or `leave_out` names no field.
        TypeError: a field of a type that no text stands for; leave it out.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for name in (*(flags or ()), *leave_out):
        if name not in fields:
            raise ValueError(f"{cls.__name__} has no field {name!r}{suggest(name, fields)}")
    hints, texts = get_type_hints(cls), help_of(cls)
    for name, field in fields.items():
        if name in leave_out:
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        given: dict[str, Any]
        text, dashed = texts.get(name, "").replace("%", "%%"), name.replace("_", "-")
        if hints[name] is bool and optional:
            flag = f"--{dashed}"
            given = {"action": argparse.BooleanOptionalAction, "default": None}
        elif hints[name] is bool:
            is_on = default is True
            flag, kind = (f"--no-{dashed}", "store_false") if is_on else (f"--{dashed}", "store_true")
            text += " (default: on; this turns it off)" if is_on else ""
            given = {"action": kind}
        else:
            flag, given = f"--{dashed}", _kind_of_argument(hints[name], f"{cls.__name__}.{name}")
            if optional:
                given |= {"default": None}
            else:
                given |= {"required": True} if default is dataclasses.MISSING else {"default": default}
            text += _shown(default)
        group.add_argument((flags or {}).get(name, flag), dest=name, help=text, **given)


def from_arguments(cls: type[T], arguments: argparse.Namespace) -> T:
    """The dataclass `cls` from what `add_arguments` made a parser read; fields that were left out have their defaults.

    Raises:
        ValueError: a value that breaks a rule of `cls`.
    """
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls) if f.init and hasattr(arguments, f.name)]  # type: ignore[arg-type]
    return cls(**{name: _convert(getattr(arguments, name), hints[name], name) for name in names})


def _kind_of_argument(hint: Any, where: str) -> dict[str, Any]:
    """How `argparse` reads a field: the type, the number of values and the choices."""
    members = _members(hint)
    if len(members) == 1 and get_origin(members[0]) is tuple:
        return {"type": _reader(_members(get_args(members[0])[0]), where), "nargs": "+"}
    choices = get_args(members[0]) if len(members) == 1 else ()
    return {"type": _reader(members, where)} | ({"choices": choices} if choices else {})


def _members(hint: Any) -> list[Any]:
    """The types that a value may have, without None."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [member for member in members if member is not type(None)]


def _reader(members: list[Any], where: str) -> Callable[[str], Any]:
    """What turns a text into the first of the types that it fits."""
    for member in members:
        if get_origin(member) is not Literal and member not in _NAMES:
            raise TypeError(f"{where} can't be read from a command line, for its type {member}: leave it out")

    def read(text: str) -> Any:
        for member in members:
            words = {"true": True, "false": False} if member is bool else {str(word): word for word in get_args(member)}
            if text in words:
                return words[text]
            if not words:
                with contextlib.suppress(ValueError):
                    return member(text)
        wanted = [_NAMES[member] if member in _NAMES else ", ".join(map(str, get_args(member))) for member in members]
        raise argparse.ArgumentTypeError(f"must be {' or '.join(wanted)}, got {text!r}")

    return read


def _shown(default: Any) -> str:
    """A default as it would be typed; nothing where there is none."""
    if default is dataclasses.MISSING or default is None:
        return ""
    text = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f" (default: {text.replace('%', '%%')})"


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
