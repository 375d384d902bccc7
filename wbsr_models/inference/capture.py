"""Batches of one shape as CUDA graphs: the hundreds of operators of a network start as one.

A graph is captured when a subnet meets a shape for the second time; the first time costs less without. Each graph keeps
memory for what goes in and out, so there is a limit to how many shapes are remembered: many small images of all sizes
bring ever new ones. Where capturing fails, networks run as they are from then on, and that is said once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wbsr_base.recording import CudaRecorder

MOST = 512  # subnets and shapes; nine subnets on windows of three sides meet some 400 at the most
_WARM_UP = 2  # runs before a capture, in which libraries choose their ways and take their memory

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs

Run = Callable[[Tensor], Tensor]


class Captures:
    """Runs networks on batches, those of captured shapes as graphs.

    Args:
        limits: for each subnet the LR pixels up to which its batches are captured; 0 for never.
        make: what captures a network for batches like one.
    """

    def __init__(self, limits: Sequence[float], make: Callable[[nn.Module, Tensor], Run] | None = None) -> None:
        self.limits, self._make = limits, make or Graphs()
        self._runs: dict[tuple[int, torch.Size], Run | None] = {}
        self._failed = False

    def __call__(self, number: int, network: nn.Module, batch: Tensor) -> Tensor:
        """The output of a subnet's network for a batch (N, C, h, w)."""
        key = number, batch.shape
        if not self._failed and key in self._runs and self._runs[key] is None:
            self._capture(key, network, batch)
        elif len(self._runs) < MOST and batch.shape[0] * batch.shape[2] * batch.shape[3] <= self.limits[number]:
            self._runs.setdefault(key, None)
        run = self._runs.get(key)
        if run is not None:
            return run(batch)
        with torch.inference_mode():
            output: Tensor = network(batch)
        return output

    def _capture(self, key: tuple[int, torch.Size], network: nn.Module, batch: Tensor) -> None:
        try:
            self._runs[key] = self._make(network, batch)
        except RuntimeError as error:
            self._failed = True
            reason = (str(error) or type(error).__name__).splitlines()[0]
            _logger.warning("CUDA graphs can't be captured here (%s): the networks run without.", reason)


class Graphs:
    """Captures networks as CUDA graphs that share their memory: they never run at the same time."""

    def __init__(self) -> None:
        self._recorder: CudaRecorder | None = None

    def __call__(self, network: nn.Module, batch: Tensor) -> Run:
        """The network as one graph, for batches like this one.

        Raises:
            RuntimeError: it can't be captured, or there is no CUDA device.
        """
        if not batch.is_cuda:
            raise RuntimeError(f"a CUDA device is needed, got {batch.device}")
        recorder = self._recorder = self._recorder or CudaRecorder(batch.device)
        given = batch.clone()
        with torch.inference_mode():
            for _ in range(_WARM_UP):
                recorder.run(lambda: network(given))
            replay, kept = recorder.record(lambda: network(given))

        def run(other: Tensor) -> Tensor:
            given.copy_(other)
            replay()
            output: Tensor = kept.clone()  # the next graph writes over it
            return output

        return run
