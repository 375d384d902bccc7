"""The HR images of a folder, and what the images made of them are called.

BasicSR ends the name of an image in a meta file at its first blank, and file systems refuse some characters; all others
remain of a name. A key of an LMDB ends at its first dot and must be ASCII, so only letters, digits, `_` and `-` remain
there. Images whose names would then be the same, and names too long for a file system, get eight digits of the hash of
their path.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wbsr_base.pixels.finding import find_images

_LONGEST = 200  # bytes, which leaves room for suffixes within a file system's 255
_NOT_IN_FILES = r'[\s/\\<>:"|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]+'  # the last: bytes that are no text
_NOT_IN_LMDB = r"[^A-Za-z0-9_-]+"


@dataclass(frozen=True)
class Source:
    """An HR image: its path, its path relative to the folder, and the key of what is made of it."""

    path: Path
    name: str
    key: str

    def stamp(self) -> tuple[int, int]:
        """(bytes, time of change in ns)."""
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal digits."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def find_sources(folder: Path, keys: Callable[[Sequence[str]], list[str]] | None = None) -> list[Source]:
    """The images in a folder and its subfolders by name; hidden files and other endings are left alone.

    Args:
        folder: where to look; links to folders are followed.
        keys: what makes keys of relative paths, such as `file_keys`; None takes `safe_keys`, which hold everywhere.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: point --hr at a folder of HR images")
    paths = find_images(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return [Source(*each) for each in zip(paths, names, (keys or safe_keys)(names), strict=True)]


def safe_keys(names: Sequence[str]) -> list[str]:
    """A different key for each of different relative paths, safe in file names, meta files and LMDBs."""
    return _different(names, _NOT_IN_LMDB)


def file_keys(names: Sequence[str]) -> list[str]:
    """A different key for each of different relative paths, safe in file names and meta files; names stay as far as
    they can."""
    return _different(names, _NOT_IN_FILES)


def _different(names: Sequence[str], replaced: str) -> list[str]:
    stems = [re.sub(replaced, "_", name.rpartition(".")[0]) for name in names]
    often = Counter(map(_alike, stems))
    keys = []
    for name, stem in zip(names, stems, strict=True):
        unique = often[_alike(stem)] == 1 and len(stem.encode()) <= _LONGEST
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        keys.append(stem if unique else f"{stem.encode()[: _LONGEST - 9].decode(errors='ignore')}_{digest}")
    return keys


def _alike(stem: str) -> str:
    """What some file systems take for the same name: they ignore case, or how an accent is written."""
    return unicodedata.normalize("NFC", stem).casefold()
