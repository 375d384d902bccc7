"""Decoded images kept in memory, so that a training decodes each file once where memory allows.

Images are added as they are first read, until a limit is reached; none is ever thrown out, since under random access
every image is as likely to be asked for again as any other. Workers that are forked share one store, so the limit is
that of a process and all its workers. A spawned worker can't: it has a store of its own, of an equal part of the limit.
"""

from __future__ import annotations

import logging
import mmap
import multiprocessing
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from wbsr_base.pixels.images import Pixels

_logger = logging.getLogger("basicsr.wbsr_data")  # reaches the log file where BasicSR runs
_RECORD = np.dtype([("end", np.int64), ("height", np.int32), ("width", np.int32), ("bytes", np.int32)])


class ImageCache:
    """A store of images by slot number.

    Args:
        slots: how many images there are.
        limit_mb: MB (of 10⁶ bytes) that the images may take; 0 keeps nothing. Memory is taken as images are added.

    Raises:
        ValueError: a negative limit.
    """

    def __init__(self, slots: int, limit_mb: int) -> None:
        if limit_mb < 0:
            raise ValueError(f"limit_mb must be at least 0, got {limit_mb}")
        self._slots, self._limit = slots, limit_mb * 1_000_000
        self._memory: mmap.mmap | None = None
        self._open(self._limit)

    def get(self, slot: int) -> Pixels | None:
        """An image, not to be written to; None if it is not there."""
        memory = self._store()
        if memory is None:
            return None
        with self._lock:
            end, height, width, itemsize = self._table[slot].tolist()
        if end == 0:
            return None
        shape = (height, width, 3)
        kind = np.uint8 if itemsize == 1 else np.uint16
        size = height * width * 3
        pixels: Pixels = np.frombuffer(memory, kind, size, end - size * itemsize).reshape(shape)
        pixels.flags.writeable = False
        return pixels

    def put(self, slot: int, pixels: Pixels) -> None:
        """Keep an image (H, W, 3), if there is room."""
        memory = self._store()
        if memory is None:
            return
        with self._lock:
            begin = -(-int(self._table["end"].max()) // 2) * 2  # 16-bit pixels lie on even bytes
            end = begin + pixels.nbytes
            if self._table[slot]["end"] == 0 and end <= len(memory):
                np.frombuffer(memory, np.uint8)[begin:end] = np.ascontiguousarray(pixels).view(np.uint8).ravel()
                self._table[slot] = (end, *pixels.shape[:2], pixels.itemsize)

    def __getstate__(self) -> dict[str, Any]:
        return {"_slots": self._slots, "_limit": self._limit, "_memory": None}

    def _store(self) -> mmap.mmap | None:
        """The memory, if any; that of a spawned worker is made here, when the number of workers is known."""
        if self._memory is None and self._limit > 0:
            worker = get_worker_info()
            self._open(self._limit // (1 if worker is None else worker.num_workers))
        return self._memory

    def _open(self, size: int) -> None:
        if size == 0:
            return
        try:
            self._memory = mmap.mmap(-1, size)
        except (OSError, OverflowError) as error:  # a system that does not promise more memory than it has
            _logger.warning("Decoded images are not kept: %d MB can't be had (%s).", size // 1_000_000, error)
            self._limit = 0
            return
        self._table = np.frombuffer(mmap.mmap(-1, self._slots * _RECORD.itemsize), _RECORD)
        self._lock = multiprocessing.Lock()
