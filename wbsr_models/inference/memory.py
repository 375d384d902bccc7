"""Memory of inference: what a network call needs, what a device has to give, and so what fits."""

from __future__ import annotations

import copy
import math
import os
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.precision import dtype_of
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.tiling import FADE, narrowest_band
from wbsr_models.inference.workers import cores

MEGABYTE = 2**20

_PROBE = 32  # side of the input on which a network's need is counted
_MARGIN = 1.5  # for what the backends take beside the tensors: packed weights, conversions of layout
_GPU_DEFAULT_MB = 3072  # batches of 400,000 LR pixels under the paper's SRResNet in half precision, which keep it busy
_CPU_DEFAULT_MB = 384  # windows of 27,000 LR pixels under the paper's networks; larger ones gain nothing
_CPU_THREAD_MB = 96  # of each thread that takes windows of its own: 6,700 LR pixels


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
    """What inference may use if nobody says: half of what is free; on a GPU at most 3,072 MB, on a CPU 384, or 96 for
    each thread."""
    if device.type == "cuda":
        return min(_GPU_DEFAULT_MB, float(torch.cuda.mem_get_info(device)[0] / 2 / MEGABYTE))
    most = max(_CPU_DEFAULT_MB, _CPU_THREAD_MB * cores(device))
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 / MEGABYTE
    except (AttributeError, OSError, ValueError):  # no such question on this system
        return most
    return min(most, free)


class Memory:
    """What fits: batches, windows and the canvas on which a result is put together.

    Args:
        network: whose full member is the hungriest.
        settings: the bound, the precision, and where canvases lie.
    """

    def __init__(self, network: DynamicNetwork, settings: EngineSettings) -> None:
        self._network, self._settings = network, settings
        self._bytes_per_pixel: float | None = None
        self._free: float | None = None

    def batch_pixels(self, lr: Tensor, rims: float = 0.0) -> int:
        """LR pixels of the largest batch that fits beside the result of an LR image (C, H, W): the canvas, and rims of
        so many times its pixels."""
        return int(max(0.0, self._limit(lr, rims) - self._beside(lr, rims)) / self._need(lr))

    def window_pixels(self, lr: Tensor, patch_size: int) -> int:
        """LR pixels of the largest window that fits.

        Raises:
            ValueError: not even one patch with its halo fits; of a dense run, not even the narrowest band.
        """
        plan, halo, rims = self._settings.plan, self._settings.window_halo, 0.0
        if plan in ("tiles", "dense"):
            halo = self._settings.tile_halo(self._network.scale)
        if plan != "windows":
            rims = (1 + 2 * min(FADE, halo) / patch_size) ** 2 - 1  # if no patches are joined
        affordable = self.batch_pixels(lr, rims)
        smallest = math.prod(min(side, patch_size + 2 * halo) for side in lr.shape[1:])
        if plan == "dense":
            smallest = min(lr.shape[1:]) * min(max(lr.shape[1:]), narrowest_band(halo))
        if affordable < smallest:
            least, there_is = self._beside(lr, rims) + smallest * self._need(lr), self._limit(lr, rims)
            what = "bands" if plan == "dense" else f"patches of {patch_size}"
            raise ValueError(
                f"memory_mb must be at least {math.ceil(least / MEGABYTE)} for an LR image of {lr.shape[1]} x "
                f"{lr.shape[2]}, {what} and a halo of {halo}, got {there_is / MEGABYTE:g}"
            )
        return affordable

    def new_canvas(self, lr: Tensor, channels: int) -> Tensor:
        """Where the result of an LR image (C, H, W) goes, of this many channels; its values are undefined."""
        height, width = (side * self._network.scale for side in lr.shape[1:])
        return torch.empty(channels, height, width, dtype=lr.dtype, device="cpu" if self.on_cpu(lr) else lr.device)

    def on_cpu(self, lr: Tensor) -> bool:
        """Whether the canvas of an LR image lies on the CPU."""
        if self._settings.canvas_device == "auto":
            return not lr.is_cuda or self._result_bytes(lr) > self._limit(lr) / 2
        return self._settings.canvas_device == "cpu" or not lr.is_cuda

    def _beside(self, lr: Tensor, rims: float = 0.0) -> float:
        """Bytes of the result, where it lies on the computing device."""
        return 0 if self.on_cpu(lr) and lr.is_cuda else self._result_bytes(lr, rims)

    def _need(self, lr: Tensor) -> float:
        """Bytes per LR pixel of a batch, under the full network."""
        if self._bytes_per_pixel is None:
            self._bytes_per_pixel = bytes_per_pixel(self._network.extract(self._network.full), lr.shape[0])
        return self._bytes_per_pixel * dtype_of(self._settings.precision).itemsize / torch.float32.itemsize

    def _limit(self, lr: Tensor, rims: float = 0.0) -> float:
        if self._settings.memory_mb is not None:
            return self._settings.memory_mb * MEGABYTE
        if lr.is_cuda:  # asked for once: the driver takes its time, and counts what torch keeps for itself as taken
            self._free = default_megabytes(lr.device) * MEGABYTE if self._free is None else self._free
            return self._free
        return default_megabytes(lr.device) * MEGABYTE + self._result_bytes(lr, rims)

    def _result_bytes(self, lr: Tensor, rims: float = 0.0) -> float:
        return (1 + rims) * lr.numel() * self._network.scale**2 * lr.element_size()


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
