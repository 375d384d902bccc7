"""Files that are whole or absent: written under a hidden name beside, and renamed into place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part"  # how hidden names end
_LONGEST = 200  # bytes of a name that its hidden one repeats; systems allow 255 in all


@contextmanager
def beside(target: Path, durable: bool = False) -> Iterator[Path]:
    """A name to write to, which becomes `target` when the block ends and is removed when it fails.

    Args:
        target: a file of that name is replaced, or stays as it was.
        durable: survive a crash of the whole machine too, at the cost of waiting for the disk.

    Raises:
        OSError: the file can't be written or renamed.
    """
    path = target.with_name(f".{_short(target.name)}.{os.getpid()}{PART}")
    try:
        yield path
        if durable:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        path.replace(target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _short(name: str) -> str:
    """A name, or what stands for a long one and for no other."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST else hashlib.sha256(encoded).hexdigest()


def check_place(target: Path, option: str) -> None:
    """Refuse a file that can't be written, before the work whose result it is.

    Args:
        target: the file.
        option: which names it, for the errors.

    Raises:
        ValueError: it is a folder.
        OSError: its folder does not exist, or can't be written to.
    """
    if target.is_dir():
        raise ValueError(f"{option} {target} is a folder: name a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{option} {target}: the folder {target.parent} does not exist: make it first")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"{option} {target}: the folder {target.parent} can't be written to: name another")


def sweep(folder: Path) -> list[Path]:
    """Remove what killed processes have left of files that `beside` was writing in a folder; those of others stay.

    Returns:
        The paths of what was removed.
    """
    removed = []
    for path in folder.glob(f".*{PART}") if folder.is_dir() else ():
        process = path.name.removesuffix(PART).rpartition(".")[2]
        if process.isdecimal() and not _runs(int(process)):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's, or no such question on this system
        return True
    return process != os.getpid()


def write_whole(target: Path, content: bytes | memoryview | str, durable: bool = False) -> None:
    """Write a file whole or not at all, text in UTF-8; arguments and errors as for `beside`."""
    with beside(target, durable) as path:
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
