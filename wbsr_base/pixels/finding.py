"""Image files in folders, by their endings; nothing heavy is imported for it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable
from pathlib import Path

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def images_among(paths: Iterable[Path]) -> list[Path]:
    """Those that end like images and are no hidden files, by name; links that lead nowhere too: their readers tell."""
    named = (path for path in paths if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in named if path.is_file() or (path.is_symlink() and not path.exists()))


def images_below(folder: Path, leave_out: Collection[Path] = ()) -> list[Path]:
    """The images in a folder and its subfolders by name, hidden ones left out.

    Links to folders are followed, but a folder counts once: at its own place if that is below `folder` too.

    Args:
        folder: where to look.
        leave_out: folders that are not entered, resolved.
    """
    found: list[Path] = []
    seen, waiting = set(leave_out), deque([folder])
    while waiting:
        for root, folders, files in os.walk(waiting.popleft()):
            here = Path(root)
            real = here.resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting.extend(here / name for name in folders if (here / name).is_symlink())
            folders[:] = [name for name in folders if not (here / name).is_symlink()]
            found += images_among(here / name for name in files)
    return sorted(found)


def find_images(folder: Path) -> list[Path]:
    """What `images_below` finds.

    Raises:
        FileNotFoundError: no image there.
    """
    paths = images_below(folder)
    if not paths:
        raise FileNotFoundError(f"no image in {folder}: it must hold files ending in {', '.join(sorted(SUFFIXES))}")
    return paths
