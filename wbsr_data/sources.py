"""The HR images of a folder, and what the images made of them are called.

BasicSR ends the name of an image in a meta file at its first blank, ends a key of an LMDB at its first dot, and wants
ASCII in both. So only letters, digits, `_` and `-` remain of a name; images whose names would then be the same, and
names too long for a file system, get eight digits of the hash of their path.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wbsr_base.pixels.images import find_images

_LONGEST = 200  # characters, which leaves room for suffixes within a file system's 255


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


def find_sources(folder: Path) -> list[Source]:
    """The images in a folder and its subfolders by name; hidden files and other endings are left alone.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: point --hr at a folder of HR images")
    paths = find_images(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return [Source(*each) for each in zip(paths, names, safe_keys(names), strict=True)]


def safe_keys(names: Sequence[str]) -> list[str]:
    """A different key for each of different relative paths, safe in file names, meta files and LMDBs."""
    stems = [re.sub(r"[^A-Za-z0-9_-]+", "_", name.rpartition(".")[0]) for name in names]
    often = Counter(stem.lower() for stem in stems)  # some file systems ignore case
    keys = []
    for name, stem in zip(names, stems, strict=True):
        unique = often[stem.lower()] == 1 and len(stem) <= _LONGEST
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        keys.append(stem if unique else f"{stem[: _LONGEST - 9]}_{digest}")
    return keys
