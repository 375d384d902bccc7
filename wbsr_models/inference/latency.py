"""What each subnet costs in time on the device at hand: measured once, then read from the user's cache folder.

FLOPs tell little of time: a network of 36 channels runs at two thirds of the arithmetic rate of one of 64 on a CPU, and
a GPU that is not busy takes as long for both. The cache's key is everything the times depend on: architecture, device,
threads, precision and torch's version.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import statistics
from pathlib import Path

import torch
from torch import nn

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.devices import keep_freed_blocks, seconds_at
from wbsr_base.files import write_whole
from wbsr_base.precision import canonical, dtype_of
from wbsr_models.inference.ready import ready

REPEATS = 5

_SIDE = 64  # LR pixels of the windows that are timed
_BATCH_CPU, _BATCH_GPU = 1, 64
_FORMAT = 2  # raise it when what is measured changes

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


def measured_seconds(
    network: DynamicNetwork, device: torch.device | str, precision: str = "fp32", folder: Path | None = None
) -> tuple[float, ...]:
    """Seconds per LR pixel of each subnet on `device`, in the network's order.

    Args:
        network: whose subnets are timed; only their shapes matter.
        device: where they run.
        precision: of the networks.
        folder: where times are kept; None: `wbsr` in the user's cache folder.

    Returns:
        Medians of five interleaved runs on windows of 64 x 64, all above 0.

    Raises:
        ValueError: an unknown precision.
    """
    device, precision = torch.device(device), canonical(precision)
    path = (folder or cache_folder()) / f"latency-{_key(network, device, precision)}.json"
    known = _read(path, len(network.subnets))
    if known is None:
        batch = _BATCH_GPU if device.type == "cuda" else _BATCH_CPU
        known = time_subnets(network, device, precision, batch=batch)
        _write(path, known)
    return known


def time_subnets(
    network: DynamicNetwork, device: torch.device, precision: str = "fp32", side: int = _SIDE, batch: int = 1
) -> tuple[float, ...]:
    """What `measured_seconds` returns, measured now: for calls on `batch` windows of side x side LR pixels."""
    if device.type == "cpu":
        keep_freed_blocks()
    window = torch.rand(batch, network.in_channels, side, side, device=device, dtype=dtype_of(precision))
    window = window.contiguous(memory_format=torch.channels_last)
    networks = [ready(network.extract(subnet).to(device), precision) for subnet in network.subnets]
    for each in networks:
        _seconds(each, window)  # warm-up
    runs = [[_seconds(each, window) for each in networks] for _ in range(REPEATS)]
    pixels = batch * side**2
    return tuple(statistics.median(times) / pixels for times in zip(*runs, strict=True))


def cache_folder() -> Path:
    """`wbsr` in the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wbsr"


def _seconds(network: nn.Module, window: torch.Tensor) -> float:
    start = seconds_at(window.device)
    with torch.inference_mode():
        network(window)
    return seconds_at(window.device) - start


def _key(network: DynamicNetwork, device: torch.device, precision: str) -> str:
    is_cuda = device.type == "cuda"
    content = {
        "format": _FORMAT,
        "weights": {name: list(weight.shape) for name, weight in network.state_dict().items()},
        "flops": {str(subnet): flops for subnet, flops in network.flops.items()},
        "device": torch.cuda.get_device_name(device) if is_cuda else [platform.node(), platform.processor()],
        "threads": None if is_cuda else torch.get_num_threads(),
        "precision": precision,
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _read(path: Path, count: int) -> tuple[float, ...] | None:
    try:
        times = json.loads(path.read_text(encoding="utf-8"))["seconds_per_pixel"]
        if len(times) != count or not all(value > 0 for value in times):
            raise ValueError("it holds other numbers")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _logger.warning("The times in %s can't be read (%s): measuring again.", path, error)
        return None
    return tuple(map(float, times))


def _write(path: Path, times: tuple[float, ...]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"seconds_per_pixel": times}))
    except OSError as error:
        _logger.warning("The times are not kept, since %s can't be written (%s).", path.parent, error)
