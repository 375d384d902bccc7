"""Threads that compute side by side, each by itself: how a CPU runs many small windows.

An operator on a small window is over before several cores have begun it together. So each core takes a window of its
own, and operators are not shared.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

import torch

Job = TypeVar("Job")

_making = Lock()


def cores(device: torch.device) -> int:
    """How many threads can work side by side for `device`: as many as torch computes with on a CPU, else one.

    Only OpenMP lets a thread compute alone while others do, so without it there is one.
    """
    return torch.get_num_threads() if device.type == "cpu" and _has_openmp() else 1


def run(jobs: Sequence[Job], work: Callable[[Job], None], threads: int) -> None:
    """Do all jobs, side by side in so many threads. Returns, or raises, when none works any more.

    Args:
        jobs: the dearest first: one thread takes from the end, so that small ones, which Python slows down most, run
            beside large ones.
        work: what is done with each; in no order, without gradients, in the caller's inference mode and autocast.
        threads: at most `cores`; 1 does them here, by all cores.

    Raises:
        What `work` raises first; jobs that have not begun are then left.
    """
    pool = _pool(torch.get_num_threads()) if threads > 1 else None
    if pool is None or pool.size < threads:
        for job in jobs:
            work(job)
        return
    left, ended = deque(jobs), SimpleQueue[BaseException | None]()
    inference, autocast = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    number_format = torch.get_autocast_dtype("cpu")

    def worker(take: Callable[[], Job]) -> None:
        error = None
        try:
            with torch.inference_mode(inference), torch.no_grad(), torch.autocast("cpu", number_format, autocast):
                while True:
                    try:
                        job = take()
                    except IndexError:
                        break
                    work(job)
        except BaseException as raised:  # noqa: BLE001  raised again by the caller
            left.clear()
            error = raised
        ended.put(error)

    for number in range(threads):
        pool.tasks.put(functools.partial(worker, left.popleft if number else left.pop))
    working, errors = threads, []
    try:
        while working:
            errors.append(ended.get())
            working -= 1
    finally:
        left.clear()
        for _ in range(working):  # after an interrupt
            ended.get()
    for error in filter(None, errors):
        raise error


class _Pool:
    """Threads that compute alone, for as long as the process lives.

    How many threads compute together is a matter of each thread under OpenMP. But torch also keeps the number that was
    said last, and gives it to a thread that asks for the first time: so workers ask before they say theirs, and the
    caller says his again.
    """

    def __init__(self, threads: int) -> None:
        self.tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.size = 0
        ready: SimpleQueue[None] = SimpleQueue()
        try:
            for _ in range(threads):
                Thread(target=self._work, args=(ready,), name="wbsr-worker", daemon=True).start()
                ready.get()
                self.size += 1
        except RuntimeError:  # no more threads are to be had, or the interpreter is about to end
            pass
        finally:
            torch.set_num_threads(threads)

    def _work(self, ready: SimpleQueue[None]) -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)
        ready.put(None)
        while True:
            self.tasks.get()()


def _pool(threads: int) -> _Pool:
    with _making:
        return _made(os.getpid(), threads)


@functools.cache
def _made(process: int, threads: int) -> _Pool:
    """The pool of a process: a fork has none of its parent's threads."""
    return _Pool(threads)


@functools.cache
def _has_openmp() -> bool:
    return "ATen parallel backend: OpenMP" in torch.__config__.parallel_info()
