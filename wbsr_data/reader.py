"""Encoded images of LR/HR pairs from wherever BasicSR keeps them: a folder or an LMDB."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from wbsr_base.basicsr import FileClient
from wbsr_data.index_cache import Stamp, file_stamp

Side = Literal["lq", "gt"]

_opening = threading.Lock()


class PairReader:
    """Reads the bytes of pairs; usable from several threads, and after a fork or in a spawned worker.

    Args:
        paths: per pair `lq_path` and `gt_path`: file paths, or LMDB keys.
        backend: BasicSR's `io_backend` block; for LMDB with `db_paths` in the order of `client_keys`.
    """

    def __init__(self, paths: Sequence[Mapping[str, str]], backend: Mapping[str, Any]) -> None:
        self._paths = paths
        self._backend = dict(backend)
        self._client: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return len(self._paths)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}

    def name(self, number: int, side: Side) -> str:
        """What errors call an image: its path, or its key in an LMDB."""
        key = self._paths[number][f"{side}_path"]
        return f"key {key!r} of {self._database(side)}" if self._is_lmdb else key

    def read(self, number: int, side: Side) -> bytes:
        """The encoded image.

        Raises:
            OSError: the file is gone, or can't be read.
            ValueError: the LMDB lacks the key.
        """
        try:
            data = self._file_client().get(self._paths[number][f"{side}_path"], side)
        except OSError as error:
            reason = error.strerror or str(error)
            raise type(error)(
                f"{self.name(number, side)} can't be read ({reason}): put it back, then resume"
            ) from error
        if data is None:
            raise ValueError(
                f"{self.name(number, side)} is missing, though meta_info.txt lists it: make the LMDB again"
            )
        return bytes(data)

    def stamps(self) -> list[Stamp]:
        """The state of all files behind the pairs.

        Raises:
            FileNotFoundError: a file is missing.
        """
        if self._is_lmdb:
            return [file_stamp(os.path.join(folder, "data.mdb")) for folder in self._backend["db_paths"]]  # noqa: PTH118
        return [file_stamp(pair[f"{side}_path"]) for pair in self._paths for side in ("lq", "gt")]

    def close(self) -> None:
        """Let go of open files; an LMDB must not be open across a fork."""
        self._client = None

    @property
    def _is_lmdb(self) -> bool:
        return bool(self._backend["type"] == "lmdb")

    def _database(self, side: Side) -> str:
        keys: list[str] = self._backend["client_keys"]
        return str(self._backend["db_paths"][keys.index(side)])

    def _file_client(self) -> Any:
        with _opening:  # an LMDB can be open only once in a process
            if self._client is not None and self._client[0] == os.getpid():
                return self._client[1]
            self._client = None  # of the parent process, if there is one: let go before it is opened anew
            options = {key: value for key, value in self._backend.items() if key != "type"}
            self._client = (os.getpid(), FileClient(self._backend["type"], **options))
            return self._client[1]
