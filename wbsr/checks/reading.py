"""Which keys a registered class reads from its options, found in its source.

BasicSR's models and data sets get a dict and take what they want: `opt['gt_size']`, `self.opt['val'].get('pbar')`,
`'mean' in opt`, `train_opt = self.opt['train']`. So does nearly everybody's. The source of a class and of its bases is
read for such expressions, into the functions that are handed the dict. Where the whole dict goes to code that can't be
followed, the class is *open*: it may read more.

A class may declare its keys instead (`DeclaresOptions` in `wbsr_base.protocols`).
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

Place = tuple[str, ...]

_ROOTS: dict[str, Place] = {"opt": (), "train_opt": ("train",), "dataset_opt": ()}  # parameters, by BasicSR's habit
_ASKING = ("get", "pop", "setdefault")
_COPYING = ("dict", "deepcopy", "copy", "OrderedDict")
_DEPTH = 6  # calls that are followed
_KNOWN_KEYLESS = ("keys", "values", "items", "copy", "update")


@dataclass
class Reads:
    """What a class reads.

    `keys`: by the block's place within the options, such as `train` or the empty text for the options themselves;
    `of_basicsr`: those that a class of BasicSR itself reads; `optional`: those that it asks for before it takes them,
    as by `get`; `is_open`: whether it may read more.
    """

    keys: dict[str, set[str]] = field(default_factory=dict)
    of_basicsr: dict[str, set[str]] = field(default_factory=dict)
    optional: dict[str, set[str]] = field(default_factory=dict)
    is_open: bool = False

    def at(self, place: str) -> set[str]:
        """The keys of the block at a place."""
        return self.keys.get(place, set())


def reads(cls: Any) -> Reads:
    """What a registered class, or function, reads from the options that it is made with."""
    return _reads(cls)


@functools.cache
def _reads(cls: Any) -> Reads:
    found = Reads()
    for base in reversed(inspect.getmro(cls)) if inspect.isclass(cls) else ():
        if base.__module__.split(".")[0] in ("builtins", "torch", "typing", "abc"):
            continue
        source = _source(base)
        if source is None:
            found.is_open = found.is_open or "__init__" in vars(base)
            continue
        reader = _Reader(vars(sys.modules[base.__module__]))
        reader.read_class(source)
        for place, keys in reader.optional.items():
            found.optional.setdefault(place, set()).update(keys)
        for place, keys in reader.keys.items():
            found.keys.setdefault(place, set()).update(keys)
            if base.__module__.split(".")[0] == "basicsr":
                found.of_basicsr.setdefault(place, set()).update(keys)
        found.is_open = found.is_open or reader.is_open
    for place, declared in getattr(cls, "option_keys", {}).items():
        found.keys.setdefault(place, set()).update(declared)
        found.is_open = False
    return found


def _source(thing: Any) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None


class _Reader(ast.NodeVisitor):
    """Reads one class, or one function that is handed options, for the keys that it asks for."""

    def __init__(self, names: Mapping[str, Any], depth: int = 0) -> None:
        self.keys: dict[str, set[str]] = {}
        self.optional: dict[str, set[str]] = {}
        self.is_open = False
        self._names, self._depth = names, depth
        self._bound: dict[str, Place] = {}
        self._attributes: dict[str, Place] = {"opt": ()}
        self._words: dict[str, list[str]] = {}

    def read_class(self, node: ast.AST) -> None:
        """Read all methods; twice, since an attribute may be used above where it is made."""
        for _ in range(2):
            for method in ast.walk(node):
                if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    parameters = [one.arg for one in (*method.args.args, *method.args.kwonlyargs)]
                    self.read_body(method, {name: _ROOTS[name] for name in parameters if name in _ROOTS})

    def read_body(self, function: ast.AST, bound: Mapping[str, Place]) -> None:
        """Read a function, with some of its names bound to places in the options."""
        self._bound, self._words = dict(bound), {}
        for statement in getattr(function, "body", []):
            self.visit(statement)

    # What an expression is, if it is a part of the options

    def place(self, node: ast.AST) -> Place | None:
        """The place in the options that an expression stands for."""
        if isinstance(node, ast.Name):
            return self._bound.get(node.id)
        if isinstance(node, ast.Attribute):
            return self._attributes.get(node.attr) if isinstance(node.value, ast.Name) else None
        if isinstance(node, ast.Subscript):
            return self._below(node.value, node.slice)
        if isinstance(node, ast.BoolOp):
            return next((place for place in map(self.place, node.values) if place is not None), None)
        if isinstance(node, ast.IfExp):
            return self.place(node.body) or self.place(node.orelse)
        if isinstance(node, ast.Call) and node.args:
            if isinstance(node.func, ast.Attribute) and node.func.attr in _ASKING:
                return self._below(node.func.value, node.args[0])
            if _last_name(node.func) in _COPYING:
                return self.place(node.args[0])
        return None

    def _below(self, block: ast.AST, key: ast.AST) -> Place | None:
        place = self.place(block)
        if place is None or not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            return None
        return (*place, key.value)

    def _note(self, place: Place, is_asked: bool) -> None:
        for found in (self.keys, self.optional) if is_asked else (self.keys,):
            found.setdefault(":".join(place[:-1]), set()).add(place[-1])

    # Where expressions stand

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._ask(node.value, node.slice, is_asked=False)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for operator, block in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, (ast.In, ast.NotIn)):
                self._ask(block, node.left, is_asked=True)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            targets = target.elts if isinstance(target, ast.Tuple) else [target]
            if len(values) == len(targets):
                for name, value in zip(targets, values, strict=True):
                    self._bind(name, value)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._loop(node.target, node.iter)
        self.generic_visit(node)

    def _visit_comprehension(self, node: ast.AST) -> None:
        for loop in getattr(node, "generators", ()):
            self._loop(loop.target, loop.iter)
        self.generic_visit(node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension  # noqa: N815

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            if node.func.attr in _ASKING and node.args:
                self._ask(node.func.value, node.args[0], is_asked=node.func.attr != "pop" or len(node.args) > 1)
            elif node.func.attr in _KNOWN_KEYLESS and self.place(node.func.value) == ():
                self.is_open = True
        arguments = [(number, value) for number, value in enumerate(node.args)]
        named = [(word.arg, word.value) for word in node.keywords]
        handed = {at: place for at, value in (*arguments, *named) if (place := self.place(value)) is not None}
        if handed and _last_name(node.func) not in (*_COPYING, *_ASKING):
            self._follow(node.func, handed)
        self.generic_visit(node)

    def _ask(self, block: ast.AST, key: ast.AST, is_asked: bool) -> None:
        place = self.place(block)
        if place is None:
            return
        words = [key.value] if isinstance(key, ast.Constant) and isinstance(key.value, str) else []
        if isinstance(key, ast.Name):
            words = self._words.get(key.id, [])
        for word in words:
            self._note((*place, word), is_asked)
        if not words and not place:
            self.is_open = True

    def _bind(self, target: ast.AST, value: ast.AST) -> None:
        place = self.place(value)
        if isinstance(target, ast.Name):
            if place is None:
                self._bound.pop(target.id, None)
            else:
                self._bound[target.id] = place
        elif isinstance(target, ast.Attribute) and place is not None:
            self._attributes.setdefault(target.attr, place)

    def _loop(self, target: ast.AST, values: ast.AST) -> None:
        if isinstance(target, ast.Name):
            literal = values.elts if isinstance(values, (ast.Tuple, ast.List)) else []
            words = [item.value for item in literal if isinstance(item, ast.Constant)]
            self._words[target.id] = [word for word in words if isinstance(word, str)] or self._constant(values)

    def _constant(self, node: ast.AST) -> list[str]:
        value = self._names.get(node.id) if isinstance(node, ast.Name) else None
        return [word for word in value if isinstance(word, str)] if isinstance(value, (tuple, list, frozenset)) else []

    def _follow(self, function: ast.AST, handed: Mapping[int | str | None, Place]) -> None:
        """Read the function that is handed parts of the options."""
        called = _resolve(function, self._names)
        whole = any(place == () for place in handed.values())
        if _is_method(function):  # it is read by itself
            return
        source = _source(called) if isinstance(called, FunctionType) and self._depth < _DEPTH else None
        if not isinstance(source, ast.FunctionDef) or None in handed:
            self.is_open = self.is_open or whole
            return
        parameters = [one.arg for one in (*source.args.posonlyargs, *source.args.args, *source.args.kwonlyargs)]
        bound = {
            parameters[at] if isinstance(at, int) else str(at): place
            for at, place in handed.items()
            if not isinstance(at, int) or at < len(parameters)
        }
        reader = _Reader(called.__globals__, self._depth + 1)
        reader._attributes = {}
        reader.read_body(source, bound)
        for own, others in ((self.keys, reader.keys), (self.optional, reader.optional)):
            for place, keys in others.items():
                own.setdefault(place, set()).update(keys)
        self.is_open = self.is_open or reader.is_open


def _last_name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_method(node: ast.AST) -> bool:
    """Whether a function is called on `self`, `cls`, `super()` or a class."""
    if not isinstance(node, ast.Attribute):
        return False
    owner = node.value
    return (isinstance(owner, ast.Name) and owner.id in ("self", "cls")) or (
        isinstance(owner, ast.Call) and _last_name(owner.func) == "super"
    )


def _resolve(node: ast.AST, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return inspect.unwrap(names[node.id]) if callable(names.get(node.id)) else None
    if isinstance(node, ast.Attribute):
        return getattr(names.get(node.value.id), node.attr, None) if isinstance(node.value, ast.Name) else None
    return None
