"""Threads that compute side by side, each by itself: how a CPU runs many small windows.

An operator on a small window is over before several cores have begun it together. So each core takes a window of its
own, and operators are not shared.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

Job = TypeVar("Job")


def cores(device: torch.device) -> int:
    """How many threads can work side by side for `device`: as many as torch computes with on a CPU, else one.

    Only OpenMP lets a thread compute alone while others do, so without it there is one.
    """
    return torch.get_num_threads() if device.type == "cpu" and _has_openmp() else 1


def run(jobs: Sequence[Job], work: Callable[[Job], None], threads: int) -> None:
    """Do all jobs, side by side in so many threads.

    Args:
        jobs: the dearest first: one thread takes from the end, so that small ones, which Python slows down most, run
            beside large ones.
        work: what is done with each; in no order, and gradients are off.
        threads: at most `cores`; 1 does them here, by all cores.

    Raises:
        Whatever `work` raises; jobs that have not begun are then left.
    """
    if threads == 1:
        for job in jobs:
            work(job)
        return
    left = deque(jobs)

    @torch.no_grad()
    def worker(number: int) -> None:
        take = left.pop if number == 0 else left.popleft
        while True:
            try:
                job = take()
            except IndexError:
                return
            try:
                work(job)
            except BaseException:
                left.clear()
                raise

    for _ in _pool(os.getpid(), torch.get_num_threads()).map(worker, range(threads)):
        pass


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of a process that compute alone. How many compute together is a matter of each thread under OpenMP, but
    torch also keeps the number that was said last, and gives it to a thread that asks for the first time: so workers
    ask before they say theirs, and it is said again here."""
    begun = Barrier(threads + 1)

    def begin() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)
        begun.wait()

    pool = ThreadPoolExecutor(threads, "wbsr-worker", begin)
    for _ in range(threads):
        pool.submit(int)
    begun.wait()
    torch.set_num_threads(threads)
    return pool


@functools.cache
def _has_openmp() -> bool:
    return "ATen parallel backend: OpenMP" in torch.__config__.parallel_info()
