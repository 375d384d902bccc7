"""Work shared out among processes, on all cores; they end with this process, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterable
from multiprocessing.connection import wait
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")


def in_workers(jobs: Dataset[T], workers: int | None = None) -> Iterable[T]:
    """The items of a sized data set in order, made by PyTorch's loader.

    Args:
        jobs: what to do; its items travel between processes.
        workers: processes, no more than there are jobs; None is one for each core, 0 works in this process.

    Raises:
        ValueError: workers below 0.
    """
    if workers is not None and workers < 0:
        raise ValueError(f"workers must be at least 0, got {workers}")
    count = min(_cores() if workers is None else workers, len(jobs))  # type: ignore[arg-type]
    loader: Iterable[T] = DataLoader(
        jobs, batch_size=None, num_workers=count, collate_fn=_as_it_is, worker_init_fn=_end_with_parent
    )
    return loader


def _as_it_is(item: Any) -> Any:
    return item


def _end_with_parent(number: int) -> None:
    """End this worker as soon as its parent is killed; PyTorch's own watch misses one that is handing over an item."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
