"""Python processes that have torch, BasicSR and the plugin imported when they begin: importing them takes longer than
most of what the tests have them do. They are forked from a server that has done nothing else."""

import multiprocessing
import multiprocessing.forkserver
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import processes

METHOD = multiprocessing.get_context("forkserver")


def serve():
    """Begin the server, one for each process of pytest; what it starts computes with one thread."""
    METHOD.set_forkserver_preload(["wbsr.plugin", "basicsr.train", "wbsr.cli", "wbsr.checks", "processes"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        multiprocessing.forkserver.ensure_running()


class Started:
    """A process that does what `python COMMAND` does; `stdout` is what it says there and on stderr.

    Args:
        command: `-m MODULE ARGUMENTS` or `SCRIPT ARGUMENTS`.
        folder: where.
        environment: what is to be added to the server's.
    """

    def __init__(self, command, folder, environment):
        receiver, sender = METHOD.Pipe(duplex=False)
        with receiver, sender:
            self._process = METHOD.Process(target=_begin, args=(command, folder, environment, sender))
            self._process.start()
            self.stdout = os.fdopen(os.dup(receiver.fileno()), encoding="utf-8")

    @property
    def returncode(self):
        """Its exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self):
        self._process.join()

    def kill(self):
        self._process.kill()
        self.wait()

    def output(self, code=0):
        """All that it says until it ends, which it has to do with this exit code."""
        text = self.stdout.read()
        self.wait()
        assert self.returncode == code, text
        return text


def _begin(command, folder, environment, sender):
    os.chdir(folder)
    os.environ.update(environment)
    multiprocessing.set_start_method(None, force=True)  # a program's own processes start as its system has them start
    multiprocessing.process.ORIGINAL_DIR = str(folder)
    for number in (1, 2):
        os.dup2(sender.fileno(), number)
    sender.close()
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8", closefd=False) for number in (1, 2))
    first, *rest = command
    work = processes.module(*rest) if first == "-m" else processes.script(Path(first), *rest)
    sys.path.insert(0, "" if first == "-m" else str(Path(first).parent))
    work()
