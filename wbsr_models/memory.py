"""Memory of inference: what a network call needs, what a device has to give, and blocks that are kept for reuse."""

from __future__ import annotations

import copy
import ctypes
import functools
import os
import sys
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

MEGABYTE = 2**20

_PROBE = 32  # side of the input on which a network's need is counted
_MARGIN = 1.5  # for what the backends take beside the tensors: packed weights, conversions of layout
_CPU_DEFAULT_MB = 384  # windows of 27,000 LR pixels under the paper's networks; larger ones gain nothing

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_KEPT_BLOCK = 2**28


def bytes_per_pixel(network: nn.Module, in_channels: int = 3) -> float:
    """Most bytes alive at a time while `network` runs in float32, per pixel of its input, with a margin.

    Counted on `meta` tensors: nothing is computed.
    """
    network = copy.deepcopy(network).to("meta")
    image = torch.empty(1, in_channels, _PROBE, _PROBE, device="meta")
    with torch.no_grad(), _LiveBytes() as live:
        network(image)
    peak: int = live.peak
    return _MARGIN * peak / _PROBE**2


def default_megabytes(device: torch.device) -> float:
    """What inference may use if nobody says: half of what is free, on a CPU at most 384 MB."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0] / 2 / MEGABYTE)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 / MEGABYTE
    except (AttributeError, OSError, ValueError):  # no such question on this system
        return _CPU_DEFAULT_MB
    return min(_CPU_DEFAULT_MB, free)


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


class _LiveBytes(TorchDispatchMode):  # type: ignore[misc,no-untyped-call]
    """Adds up the memory of the tensors that operators return, as long as they are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._users: dict[int, int] = {}  # of each storage

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._users:
            self._users[key] = 0
            self.now += size
            self.peak = max(self.peak, self.now)
        self._users[key] += 1
        weakref.finalize(tensor, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if self._users[key] == 0:
            del self._users[key]
            self.now -= size
