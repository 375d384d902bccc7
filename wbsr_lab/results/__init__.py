"""`wbsr results`: a page of tables from the result files that `wbsr test` writes, beside the paper's figures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wbsr_base.files import write_whole

Result = dict[str, Any]

_NEEDED = ("set", "images", "scale", "network", "weights", "metrics", "device", "threads", "torch", "rows")


def main(argv: Sequence[str]) -> int:
    """Write the page.

    Raises:
        FileNotFoundError: no such result file.
        ValueError: a file is no result of `wbsr test` with `compare` or a list of budgets.
    """
    from wbsr_lab.results.page import page

    parser = argparse.ArgumentParser(prog="wbsr results", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="results/NAME/SET.json of `wbsr test`")
    parser.add_argument("--out", type=Path, help="the Markdown file to write (default: standard output)")
    arguments = parser.parse_args(list(argv))
    text = page([read_result(path) for path in arguments.files], ["wbsr", "results", *argv])
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        write_whole(arguments.out, text)
    return 0


def read_result(path: Path) -> Result:
    """The content of one result file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is something else, or compares nothing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"result file {path}: there is no such file; `wbsr test` writes results/NAME/SET.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be a result file of `wbsr test`, got no JSON: {error}") from error
    missing = [key for key in _NEEDED if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{path} must be a result file of `wbsr test`, got one without {missing[0]}: test again")
    names = [row["name"] for row in content["rows"]]
    if not {"full", "dense", "bicubic"} <= set(names):
        raise ValueError(
            f"{path} must hold rows to compare, got {', '.join(names)}: test with val:dynamic:compare: true, or with a "
            "list of budgets"
        )
    return dict(content)
