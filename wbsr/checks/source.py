"""The option file as text: what is lost once YAML has read it.

YAML keeps the last of two equal keys without a word, and reads `2e-4` as text, because it wants a point in a number
with an exponent. `--force_yml` has the same gap. Both are seen here, with their line.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from wbsr_base.options import suggest

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_TEXT_TAG = "tag:yaml.org,2002:str"


def read_options(path: Path) -> dict[str, Any]:
    """Read an option file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML mapping, has a key twice in one block, or a number that YAML reads as text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the option file {path} does not exist (the current folder is {Path.cwd()})")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        options: dict[str, Any] = yaml.safe_load(text)
        if isinstance(root, yaml.MappingNode):
            check_keys(root, str(path))
            check_numbers(root, str(path))
            return options
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply, or refers to itself") from error
    except ValueError as error:  # ours, or a date that there is not
        raise ValueError(str(error) if str(path) in str(error) else f"{path} is no valid YAML: {error}") from error
    raise ValueError(f"{path} must hold a block of keys such as `name: ...`")


def check_keys(root: yaml.Node, file: str) -> None:
    """Raise ValueError at the first key that stands twice in one block, or `<<`, which BasicSR takes for a key."""
    for where, block in _walk(root, ""):
        if not isinstance(block, yaml.MappingNode):
            continue
        lines: dict[str, int] = {}
        for key, _ in block.value:
            line = key.start_mark.line + 1
            if key.value == "<<":
                raise ValueError(f"{file}, line {line}: BasicSR doesn't merge blocks with `<<`: write the keys out")
            if key.value in lines:
                raise ValueError(
                    f"{file}, line {line}: the key {where}{key.value} stands in line {lines[key.value]} already, "
                    "and YAML would keep only the last: delete one of the two"
                )
            lines[key.value] = line


def check_numbers(root: yaml.Node, file: str) -> None:
    """Raise ValueError at the first unquoted value that looks like a number and is read as text, such as `2e-4`."""
    for where, node in _walk(root, ""):
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.tag == _TEXT_TAG:
            if not _NUMBER.fullmatch(node.value):
                continue
            raise ValueError(
                f"{file}, line {node.start_mark.line + 1}: YAML reads {where.rstrip(':')}: {node.value} as text: "
                f'write {yaml_number(node.value)}, or "{node.value}" if text is meant'
            )


def yaml_number(text: str) -> str:
    """A number in a form that YAML takes for one: `2e-4` becomes `2.0e-4`."""
    mantissa, exponent = f"{float(text):.9e}".split("e")
    mantissa = mantissa.rstrip("0")
    return f"{mantissa}{'0' if mantissa.endswith('.') else ''}e{int(exponent):+d}"


def override(opt: dict[str, Any], entries: Iterable[str]) -> dict[str, Any]:
    """The options as BasicSR will see them after `--force_yml`; `opt` is left as it is.

    Raises:
        ValueError: an entry that is not `block:key=value`, names an unknown block, or a number read as text.
    """
    from basicsr.utils.options import _postprocess_yml_value

    changed = copy.deepcopy(opt)
    for entry in entries:
        if entry.count("=") != 1:
            raise ValueError(f"--force_yml takes entries such as train:ema_decay=0.999, got {entry!r}")
        keys, text = (part.strip() for part in entry.split("="))
        *blocks, last = keys.split(":")
        block = changed
        for name in blocks:
            if not isinstance(block.get(name), dict):
                raise ValueError(f"--force_yml {entry}: there is no block {name!r}{suggest(name, block)}")
            block = block[name]
        try:
            block[last] = _postprocess_yml_value(text)
        except (SyntaxError, ValueError, NameError, TypeError) as error:
            raise ValueError(f"--force_yml {entry}: BasicSR can't read {text}: {error}") from error
        if isinstance(block[last], str) and _NUMBER.fullmatch(text):
            raise ValueError(f"--force_yml {entry}: BasicSR reads {text} as text: write '{keys}=!!float {text}'")
    return changed


def _walk(node: yaml.Node, where: str) -> Iterator[tuple[str, yaml.Node]]:
    """A node and all nodes below it, each with its place, such as `train:optim_g:`."""
    yield where, node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, f"{where}{key.value}:")
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _walk(value, where)
