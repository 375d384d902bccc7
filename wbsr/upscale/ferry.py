"""Pictures on their way to a GPU and back, while it works on others.

Each direction has a stream of its own, so that copies run beside networks; whoever uses a tensor on another stream
waits there for the copy, not on the host. On a CPU there is no way to go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Passenger:
    """A tensor on the device, and what to wait for before it is used there."""

    tensor: Tensor
    there: Any = None


class Ferry:
    """Brings tensors to a device and back.

    Args:
        device: where networks run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.crosses = device.type == "cuda"
        self._out: Any = None
        self._back: Any = None
        if self.crosses:
            self._out, self._back = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def send(self, tensor: Tensor) -> Passenger:
        """A tensor of the CPU to the device; from any thread."""
        if not self.crosses:
            return Passenger(tensor)
        with torch.cuda.stream(self._out):
            sent = tensor.contiguous().pin_memory().to(self.device, non_blocking=True)
            return Passenger(sent, self._out.record_event())

    def receive(self, passenger: Passenger) -> Tensor:
        """The tensor, for the stream of the thread that asks."""
        if passenger.there is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(passenger.there)
            passenger.tensor.record_stream(stream)
        return passenger.tensor

    def leave(self, tensor: Tensor) -> Passenger:
        """A tensor of the device that is to be used by another thread, `home`."""
        there = torch.cuda.current_stream(self.device).record_event() if self.crosses else None
        return Passenger(tensor, there)

    @contextlib.contextmanager
    def home(self, passenger: Passenger) -> Iterator[Tensor]:
        """The tensor, for what brings it to the CPU: that runs beside what the device does for others."""
        if not self.crosses:
            yield passenger.tensor
            return
        with torch.cuda.stream(self._back):
            yield self.receive(passenger)
