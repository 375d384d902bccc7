"""`wbsr options`: the option files that ship, listed, printed or copied; and the JSON schema of our option blocks."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from wbsr.option_files import OptionFile, find, option_files
from wbsr_base.files import write_whole


def main(argv: Sequence[str]) -> int:
    """List, print or copy option files, or write the schema.

    Raises:
        FileNotFoundError: the option files are not there.
        FileExistsError: a file to be written is there already.
        ValueError: no option file has the name, or several have.
    """
    parser = _parser()
    arguments = parser.parse_args(list(argv))
    if arguments.schema is not None:
        if arguments.name is not None or arguments.copy is not None:
            parser.error("--schema stands alone, without NAME and --copy")
        _write_schema(arguments.schema, arguments.overwrite)
        return 0
    file = None if arguments.name is None else find(arguments.name)
    if arguments.copy is not None:
        copied = copy(option_files() if file is None else [file], arguments.copy, arguments.overwrite, file is None)
        sys.stdout.write("".join(f"{path}\n" for path in copied))
    else:
        sys.stdout.write(listing(option_files()) if file is None else file.path.read_text(encoding="utf-8"))
    return 0


def listing(files: Iterable[OptionFile]) -> str:
    """The option files by group, each with what it is about."""
    lines = []
    for group, members in itertools.groupby(sorted(files, key=lambda file: (file.group, file.stem)), lambda f: f.group):
        group_files = list(members)
        width = max(len(file.stem) for file in group_files)
        lines += [f"{group}/", *(f"  {file.stem:{width}}  {file.about()}" for file in group_files), ""]
    return "\n".join([*lines, "`wbsr options NAME` prints one; `wbsr options NAME --copy DIR` copies it.", ""])


def copy(files: Sequence[OptionFile], target: Path, overwrite: bool = False, in_groups: bool = True) -> list[Path]:
    """Copy option files, all or none.

    Args:
        files: which.
        target: a folder; it is made if it is not there.
        overwrite: replace files that are there.
        in_groups: put each into a folder of its group, as they ship, or all into `target` itself.

    Returns:
        The copies.

    Raises:
        FileExistsError: a file is there and is not to be replaced; then nothing is copied.
        OSError: a file can't be written.
    """
    copies = {target / f"{file.name if in_groups else file.stem}.yml": file for file in files}
    _refuse_present(copies, overwrite)
    for path, file in copies.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.path.read_bytes())
    return list(copies)


def _write_schema(target: str, overwrite: bool) -> None:
    from wbsr.checks.schema import schema_text

    if target == "-":
        sys.stdout.write(schema_text())
        return
    _refuse_present([Path(target)], overwrite)
    write_whole(Path(target), schema_text())
    sys.stdout.write(f"{target}\nAs the first line of an option file: # yaml-language-server: $schema={target}\n")


def _refuse_present(paths: Iterable[Path], overwrite: bool) -> None:
    present = [] if overwrite else [path for path in paths if path.exists()]
    if present:
        others = f" (and {len(present) - 1} more)" if len(present) > 1 else ""
        raise FileExistsError(f"{present[0]} is there already{others}: give --overwrite to replace, or another name")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wbsr options", description="List the option files that ship, print one, or copy them to change them."
    )
    parser.add_argument("name", nargs="?", help="print this one: WBSR_RCAN_x4, or more of its name: demo/train")
    parser.add_argument(
        "--copy", type=Path, metavar="DIR", help="copy NAME to this folder; without NAME all, in groups"
    )
    parser.add_argument(
        "--schema",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the JSON schema of WBSR's option blocks, by which editors complete and check option files",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    return parser
