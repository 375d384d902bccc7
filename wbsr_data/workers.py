"""Work shared out among processes, on all cores; they end with this process, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

_AHEAD = 2  # jobs of each process whose results wait for their turn, at most

_jobs: Any = None  # in a worker process: what it works on


class Jobs(Protocol[T_co]):
    """What to do, by number; it travels to the processes once, and its items travel back."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> T_co: ...


def in_workers(jobs: Jobs[T], workers: int | None = None) -> Iterator[T]:
    """The items of all jobs, in order.

    Args:
        jobs: what to do.
        workers: processes, no more than there are jobs; None is one for each core, 0 works in this process.

    Raises:
        ValueError: workers below 0; or, while they work, a process was killed.
    """
    if workers is not None and workers < 0:
        raise ValueError(f"workers must be at least 0, got {workers}")
    count = min(_cores() if workers is None else workers, len(jobs))
    return _shared(jobs, count) if count else (jobs[number] for number in range(len(jobs)))


def _shared(jobs: Jobs[T], workers: int) -> Iterator[T]:
    pool = ProcessPoolExecutor(workers, initializer=_begin, initargs=(jobs,))
    waiting: deque[Future[T]] = deque()
    try:
        for number in range(len(jobs)):
            waiting.append(pool.submit(_work, number))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ValueError(
            "a process that worked on images was killed, as systems do when memory runs out: take fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(jobs: Jobs[Any]) -> None:
    """Begin a worker: it ends as soon as its parent does, and takes one core."""
    global _jobs
    _jobs = jobs
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _work(number: int) -> Any:
    return _jobs[number]


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
