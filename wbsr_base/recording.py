"""Work of a GPU that is recorded once and replayed as a whole: a CUDA graph in place of a thousand launches.

A recording repeats the operators on the very tensors that they ran on; no Python of it runs again. So what it is to
take in must be copied into the tensors it was recorded with, and whatever the host would decide must be decided before.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import torch

T = TypeVar("T")


class RecordingError(RuntimeError):
    """Why a function can't be recorded. Nothing of it was run."""


class Recorder(Protocol):
    """Runs functions, and records them."""

    def run(self, function: Callable[[], T]) -> T:
        """Run a function as ever, to get ready what it makes once: a recording should find all that."""
        ...

    def watch(self, function: Callable[[], T]) -> tuple[T, str | None]:
        """As `run`, and say where the host waited for the device, if it did: such a function can't be recorded."""
        ...

    def record(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Record a function without running it.

        Returns:
            What runs it, and its result, whose tensors then hold what it would have returned, until anything else that
            this recorder has recorded runs.

        Raises:
            RecordingError: it does what can't be recorded.
        """
        ...


class CudaRecorder:
    """Records CUDA graphs on a stream of its own; all of them share one pool of memory.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]

    def run(self, function: Callable[[], T]) -> T:
        """On the stream of the recordings, in the order of the calls."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = function()
        current.wait_stream(self._stream)
        return result

    def watch(self, function: Callable[[], T]) -> tuple[T, str | None]:
        """By CUDA's debug mode for operators that synchronise."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                result = self.run(function)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        places = [f"{Path(each.filename).name}, line {each.lineno}" for each in caught if _is_wait(each)]
        return result, places[0] if places else None

    def record(self, function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """As a CUDA graph."""
        graph = torch.cuda.CUDAGraph()
        current, cause = torch.cuda.current_stream(self._device), None
        try:
            # Other threads, which may pin the memory of batches, go on as they like.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                try:
                    result = function()
                except RuntimeError as error:  # the end of the capture will raise another
                    cause = error
                    raise
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # a capture that fails leaves its own behind
            raise RecordingError(_first_line(cause or error)) from error
        return graph.replay, result


def _is_wait(warning: warnings.WarningMessage) -> bool:
    return "synchronizing CUDA operation" in str(warning.message)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
