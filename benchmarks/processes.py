"""Work in processes of its own, forked from this one, so that nothing that it has imported is imported anew.

On a fresh machine importing torch and BasicSR takes 10 to 14 s. A process that forks must not have used several
threads, nor CUDA: whatever does either is given to `run` itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

Work = Callable[[], object]
GRACE = 20.0  # seconds in which a process that is asked to stop may do so


def run(work: Work, folder: Path, log: Path, seconds: float | None = None) -> int | None:
    """Do some work in a process of its own, in `folder`; what it says goes into `log`.

    Args:
        work: that ends as a program does: by returning, by `SystemExit`, or by an error.
        folder: where.
        log: a file, which is written anew.
        seconds: its limit; then it is asked to stop, and killed if it does not. What it began and left ends with it.
            Without a limit it belongs to this process, and what stops this one stops it too.

    Returns:
        Its exit code, the negative number of the signal that ended it, or None if it ran past its limit.
    """
    process = multiprocessing.get_context("fork").Process(target=_begin, args=(work, folder, log, seconds is not None))
    process.start()
    process.join(seconds)
    code = process.exitcode
    if process.pid is not None and seconds is not None:
        if code is None:
            _blow(process.pid, signal.SIGTERM)
            process.join(GRACE)
        _blow(process.pid, signal.SIGKILL)
        process.join()
    return code


def _blow(group: int, blow: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, blow)


def _begin(work: Work, folder: Path, log: Path, own_group: bool) -> None:
    if own_group:
        os.setsid()
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2))
    os.chdir(folder)
    work()


def script(path: Path, *arguments: str) -> Work:
    """What `python PATH ARGUMENTS` does."""

    def work() -> None:
        _begin_anew_if_spoilt(str(path), *arguments)
        sys.argv = [str(path), *arguments]
        runpy.run_path(str(path), run_name="__main__")

    return work


def module(name: str, *arguments: str) -> Work:
    """What `python -m NAME ARGUMENTS` does."""

    def work() -> None:
        _begin_anew_if_spoilt("-m", name, *arguments)
        sys.argv = [name, *arguments]
        runpy.run_module(name, run_name="__main__", alter_sys=True)

    return work


def _begin_anew_if_spoilt(*arguments: str) -> None:
    """Start the interpreter anew, if CUDA was asked for before the fork: then it is of no use behind it."""
    if torch.cuda._is_in_bad_fork():
        sys.stderr.write("CUDA was asked for before the fork: this process begins anew\n")
        os.execv(sys.executable, [sys.executable, *arguments])
