"""The device that a command runs on, by the name that its user gives; time as it passes there, and memory."""

from __future__ import annotations

import ctypes
import functools
import sys
import time
from collections.abc import Callable

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_BLOCK = 2**28


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


@functools.cache
def keep_freed_blocks() -> bool:
    """Let glibc's malloc keep blocks of up to 256 MB for reuse, and say whether it does.

    By default it hands every block above 32 MB back to the system, and each layer's output is such a block: the system
    then clears each page anew, layer by layer, which costs a sixth of the time of a network on windows above 90 x 90.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK) and mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BLOCK)
    )


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on a device. Nobody waits until it is there, but what is started on the device after it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def coming(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """What gives a tensor on the CPU: on its way from now on, and waited for when it is asked for."""
    if tensor.device.type != "cuda":
        return tensor.cpu
    there = tensor.to("cpu", non_blocking=True)  # into pinned memory
    arrived = torch.cuda.current_stream(tensor.device).record_event()

    def wait() -> torch.Tensor:
        arrived.synchronize()
        return there

    return wait
