"""What a preparation has finished, line by line, so that it can go on after it was killed.

    {"settings": {...}, "shared": [...]}                                      first line
    {"name": "a.png", "key": "a", "stamp": [size, time], "digest": "5d41...", "shapes": {"a_s001": [480, 480], ...},
     "deep": false}                                                           on one line, for each finished HR image

A line is written after all images of one HR image are in place. A line that was cut off by a kill doesn't count.
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wbsr_data.preparation.stores import Shape
from wbsr_data.sources import Source

FILE = "prepare.jsonl"


@dataclass(frozen=True)
class Entry:
    """A finished HR image: name, key, stamp and digest of the source, (height, width) of the HR images made, and if it
    had 16 bits."""

    name: str
    key: str
    stamp: tuple[int, int]
    digest: str
    shapes: dict[str, Shape]
    deep: bool

    def is_of(self, source: Source) -> bool:
        """Whether it was made of this file; a copy with another time of change is the same file."""
        stamp = source.stamp()
        return stamp == self.stamp or (stamp[0] == self.stamp[0] and source.digest() == self.digest)


class Journal:
    """The journal in a folder; open it by `read` or `create`, and let go by `close`.

    Args:
        path: of the file.
        settings: everything that decides what is made.
        shared: the target folders that held files of others at the start.
        entries: what is finished, by name.
    """

    def __init__(
        self, path: Path, settings: dict[str, Any], shared: list[str], entries: dict[str, Entry] | None = None
    ) -> None:
        self.settings, self.shared, self.entries = settings, shared, entries or {}
        self._file = path.open("a", encoding="utf-8")
        _lock(self._file.fileno(), path.parent)

    @classmethod
    def create(cls, folder: Path, settings: dict[str, Any], shared: list[str]) -> Journal:
        """Start a journal; one that is there must have been removed."""
        journal = cls(folder / FILE, settings, shared)
        journal._write({"settings": settings, "shared": shared})
        return journal

    @classmethod
    def read(cls, folder: Path) -> Journal | None:
        """The journal in a folder; None if there is none, or it was cut off in its first line.

        Raises:
            ValueError: it is damaged, or another process is writing it.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            entries = [
                Entry(
                    **{
                        **line,
                        "stamp": tuple(line["stamp"]),
                        "shapes": {key: tuple(shape) for key, shape in line["shapes"].items()},
                    }
                )
                for line in lines[1:]
            ]
            header = [(line["settings"], line["shared"]) for line in lines[:1]]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}): choose another --out, or remove {folder}") from error
        if not header:
            return None
        journal = cls(path, *header[0], {entry.name: entry for entry in entries})
        journal._file.truncate(len(whole))
        return journal

    def add(self, source: Source, shapes: dict[str, Shape], deep: bool) -> None:
        """Note that everything made of an HR image is in place."""
        entry = Entry(source.name, source.key, source.stamp(), source.digest(), shapes, deep)
        self.entries[entry.name] = entry
        self._write(dataclasses.asdict(entry))

    def close(self) -> None:
        """Close the file, and let other processes have it."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _lock(file: int, folder: Path) -> None:
    """Keep other preparations out; the system lets go when this process ends, however it ends.

    The lock is a record lock, which workers do not inherit: they may outlive a killed process by seconds.
    """
    if os.name == "nt":
        return
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ValueError(f"another wbsr prepare is writing to {folder}: wait for it, or choose another --out") from None
