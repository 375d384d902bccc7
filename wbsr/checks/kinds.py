"""What an option's value may be: each kind is a sentence and the test of it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

LARGEST_SEED = 2**32 - 1_000_000  # NumPy takes 32 bits, and ranks and workers count on from it
MOST_WORKERS = max(256, 8 * (os.cpu_count() or 1))  # for one process
MOST_ENLARGED = 1_000_000


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Args:
        rule: what the value must be, as an error says it.
        fits: whether a value is of the kind.
        remedy: what else the error says.
    """

    rule: str
    fits: Callable[[Any], bool]
    remedy: str = ""

    def check(self, value: Any, where: str) -> None:
        """Refuse another value.

        Raises:
            ValueError: the value does not fit; the error says the place, the rule and what came.
        """
        try:
            fits = self.fits(value)
        except (TypeError, ValueError, OverflowError, LookupError, AttributeError):
            fits = False
        if not fits:
            raise ValueError(f"{where} must be {self.rule}, got {shown(value)}{self.remedy}")

    def or_none(self) -> Kind:
        """The same, or `~`."""
        return Kind(f"{self.rule}, or ~ (none)", lambda value: value is None or self.fits(value), self.remedy)


def shown(value: Any) -> str:
    """A value as an error shows it: cut off where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number as Python has it: an int."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(least: int, most: int | None = None) -> Kind:
    """Whole numbers from `least` on."""
    rule = f"a whole number from {least}" + (f" to {most}" if most is not None else "")
    return Kind(rule, lambda value: is_whole(value) and value >= least and (most is None or value <= most))


def number(above: float | None = None, least: float | None = None, most: float | None = None) -> Kind:
    """Finite numbers within bounds."""
    bounds = [(above, "above"), (least, "of at least"), (most, "of at most")]
    told = " and ".join(f"{words} {bound:g}" for bound, words in bounds if bound is not None)

    def fits(value: Any) -> bool:
        inside = is_number(value) and (above is None or value > above) and (least is None or value >= least)
        return inside and (most is None or value <= most)

    return Kind(f"a number {told}".rstrip(), fits)


def is_list(value: Any) -> bool:
    """Whether a value is a list."""
    return isinstance(value, (list, tuple))


def list_of(each: Callable[[Any], bool], rule: str) -> Kind:
    """Lists whose items all pass a test."""
    return Kind(rule, lambda value: is_list(value) and all(map(each, value)))


def one_of(*words: Any) -> Kind:
    """One of some words."""
    told = ", ".join("~ (none)" if word is None else str(word) for word in words[:-1])
    last = "~ (none)" if words[-1] is None else str(words[-1])
    return Kind(f"{told} or {last}", lambda value: any(value is word or value == word for word in words))


def _is_count(value: Any) -> bool:
    return is_number(value) and value >= 1 and float(value).is_integer()


def _is_folder_name(value: Any) -> bool:
    parts = PurePath(value).parts
    return (
        bool(value.strip())
        and "\0" not in value
        and bool(parts)
        and not PurePath(value).is_absolute()
        and ".." not in parts
    )


TEXT = Kind("a text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
BLOCK = Kind("a block of keys", lambda value: isinstance(value, Mapping))
PATH = Kind("a path", lambda value: isinstance(value, str) and bool(value) and "\0" not in value)
COUNT = Kind("a whole number above 0", _is_count)  # BasicSR's own files write 5000 as !!float 5e3
SIZE = whole(1)
SEED = whole(0, LARGEST_SEED)
NAME = Kind(
    "a text that can name a folder, neither absolute nor with `..`",
    lambda value: isinstance(value, str) and _is_folder_name(value),
)
TEMPLATE = Kind(
    "a text with one {} in place of the name",
    lambda value: isinstance(value, str) and value.format("\0").count("\0") == 1,
)
LEVELS = list_of(is_number, "a list of numbers, one for each channel")
