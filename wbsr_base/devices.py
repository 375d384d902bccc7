"""The device that a command runs on, by the name that its user gives, and time as it passes there."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def pick_device(name: str = "auto") -> torch.device:
    """The device called `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        ValueError: another name, or a CUDA device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device is {name}, but there is no CUDA device here: use cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            raise ValueError(f"device is {name}, but there are {torch.cuda.device_count()} CUDA devices here")
    return device


def seconds_at(device: torch.device, clock: Callable[[], float] = time.perf_counter) -> float:
    """The clock's reading once all work given to the device is done: take the difference of two."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock()
