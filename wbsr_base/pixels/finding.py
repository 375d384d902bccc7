"""Image files in folders, by their endings; nothing heavy is imported for it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def images_among(paths: Iterable[Path]) -> list[Path]:
    """Those that end like images and are no hidden files, by name."""
    return sorted(p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())


def images_below(folder: Path, leave_out: Collection[Path] = ()) -> list[Path]:
    """The images in a folder and its subfolders by name; links to folders are followed, each folder once.

    Args:
        folder: where to look.
        leave_out: folders that are not entered, resolved.
    """
    found: list[Path] = []
    seen = set(leave_out)
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root)
        real = here.resolve()
        if real in seen:  # a link to where we have been
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found += images_among(here / name for name in files)
    return sorted(found)
