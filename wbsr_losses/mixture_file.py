"""The file of a mixture: JSON with the format's name, its version, and the three arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wbsr_base.files import write_whole

FORMAT, VERSION = "wbsr-mixture", 1
KEYS = ("weights", "means", "covariances")


def write(path: str | Path, arrays: dict[str, list[Any]]) -> None:
    """Write the arrays beside `path`, then rename, so that no reader ever meets half a file.

    Raises:
        OSError: the folder can't be made or written, or the disk is full; the old file stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, "version": VERSION, **arrays}, indent=1)
    write_whole(path, text, durable=True)


def read(path: str | Path) -> dict[str, Any]:
    """The arrays of a mixture file, as lists; their values are checked by `GaussianMixture`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no mixture file, one of another version, or a damaged one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no mixture file {path}: give a path that GaussianMixture.save wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"the mixture file {path} is damaged: {error}: fit the mixture again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no mixture file: give one that GaussianMixture.save wrote")
    if content.get("version") != VERSION:
        raise ValueError(f"{path} must be a mixture file of version {VERSION}, got {content.get('version')!r}")
    missing = [key for key in KEYS if key not in content]
    if missing:
        raise ValueError(f"the mixture file {path} is damaged: {', '.join(missing)} missing: fit the mixture again")
    return {key: content[key] for key in KEYS}
