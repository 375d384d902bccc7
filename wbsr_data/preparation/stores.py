"""Where prepared images go: a folder of PNG files, or an LMDB as BasicSR lays it out.

Either way an image is there whole or not at all, whenever the process is killed: files are renamed into place, and an
LMDB commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from wbsr_base.files import PART, write_whole

SUFFIX = ".png"
_FIRST_SIZE = 2**28  # bytes that an LMDB may hold at first; doubled as often as needed

Shape = tuple[int, int]  # height, width


class Store(Protocol):
    """Encoded images by key."""

    path: Path

    def put(self, images: Mapping[str, bytes]) -> None:
        """Keep images, each whole or not at all."""

    def lacks(self, keys: Sequence[str]) -> list[str]:
        """The keys that are not there."""

    def finish(self, shapes: Mapping[str, Shape], compression: int) -> None:
        """Write what else the format needs, once all images are there."""

    def close(self) -> None:
        """Let go of open files."""


class FolderStore:
    """PNG files in a folder; half-written ones are hidden, which BasicSR overlooks, and removed by the next run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        for left_over in path.glob(f".*{PART}"):
            left_over.unlink(missing_ok=True)

    def put(self, images: Mapping[str, bytes]) -> None:
        for key, data in images.items():
            write_whole(self.path / f"{key}{SUFFIX}", data)

    def lacks(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if not (self.path / f"{key}{SUFFIX}").is_file()]

    def finish(self, shapes: Mapping[str, Shape], compression: int) -> None:
        """A folder needs nothing else."""

    def close(self) -> None:
        """A folder holds nothing open."""


class LmdbStore:
    """An LMDB; without its `meta_info.txt`, which is written last, BasicSR doesn't take it for one."""

    def __init__(self, path: Path) -> None:
        import lmdb

        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        # Unsynced, a commit survives the death of this process; a crash of the whole machine would cost the LMDB.
        self._full, self._error = lmdb.MapFullError, lmdb.Error
        self._env = lmdb.open(str(path), map_size=_FIRST_SIZE, sync=False, metasync=False)

    def put(self, images: Mapping[str, bytes]) -> None:
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, data in images.items():
                        transaction.put(key.encode("ascii"), data)
                return
            except self._full:
                self._env.set_mapsize(2 * self._env.info()["map_size"])
            except self._error as error:
                raise OSError(f"{self.path}: {error}") from error

    def lacks(self, keys: Sequence[str]) -> list[str]:
        with self._env.begin(buffers=True) as transaction:
            return [key for key in keys if transaction.get(key.encode("ascii")) is None]

    def finish(self, shapes: Mapping[str, Shape], compression: int) -> None:
        self._env.sync(True)
        lines = (f"{key}{SUFFIX} ({height},{width},3) {compression}\n" for key, (height, width) in shapes.items())
        write_whole(self.path / "meta_info.txt", "".join(lines))

    def close(self) -> None:
        self._env.close()
