"""A patch index on disk, so that only the first training over some images scores them.

A cache file is named after a key, the hash of everything the index depends on: settings, file names, sizes,
modification times, and the version of this format. Changed images have another key, so a stale file is never read.
A file is written beside and then renamed, so readers see it whole or not at all, and two processes may write at once.
A file that is damaged is built again; a folder that cannot be written only costs the cache. Both are logged.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wbsr_base.files import beside
from wbsr_data.patch_index import IndexSettings, PatchIndex

DEFAULT_FOLDER = ".cache/wbsr"  # under the current directory
_FORMAT = 2  # raise it when scores or the file's content change

_logger = logging.getLogger("basicsr.wbsr_data")  # reaches the log file where BasicSR runs

Stamp = tuple[str, int, int]


def file_stamp(path: str | os.PathLike[str]) -> Stamp:
    """(absolute path, size in bytes, modification time in ns) of a file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        raise FileNotFoundError(
            f"the image {os.fspath(path)} does not exist: check the folder and the meta file"
        ) from None
    return os.path.abspath(path), status.st_size, status.st_mtime_ns  # noqa: PTH100


def cache_key(settings: IndexSettings, stamps: Sequence[Stamp], names: Sequence[str]) -> str:
    """The key of an index: a hash of settings, files (`stamps`) and image names, in order."""
    content = json.dumps([_FORMAT, dataclasses.astuple(settings), stamps, list(names)])
    return hashlib.sha256(content.encode()).hexdigest()


def cached_index(folder: str | os.PathLike[str], key: str, build: Callable[[], PatchIndex]) -> PatchIndex:
    """The index of `key` from its cache file in `folder`, else from `build`, which is then cached."""
    path = Path(folder) / f"patches-{key[:32]}.npz"
    index = _read(path, key)
    if index is None:
        index = build()
        _write(path, key, index)
    return index


def _read(path: Path, key: str) -> PatchIndex | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                raise ValueError("it holds another key")
            index = PatchIndex(**{field.name: file[field.name] for field in dataclasses.fields(PatchIndex)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _logger.warning("The patch index in %s cannot be read (%s): building it again.", path, error)
        return None
    return index


def _write(path: Path, key: str, index: PatchIndex) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as part, part.open("wb") as file:
            np.savez(file, key=np.array(key), **{f.name: getattr(index, f.name) for f in dataclasses.fields(index)})
    except OSError as error:
        _logger.warning("The patch index is not cached, since %s cannot be written (%s).", path.parent, error)
