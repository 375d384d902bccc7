"""What network calls take on the device at hand: measured once, then read from the user's cache folder.

FLOPs tell little of time: a network of 36 channels runs at two thirds of the arithmetic rate of one of 64 on a CPU, and
a GPU that is not busy takes as long for both. The cache's key is everything the times depend on: architecture, windows,
device, threads, precision, and torch's version.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from wbsr_base.files import write_whole
from wbsr_models.inference.costs import CostModel
from wbsr_models.inference.measured import Timings, costs_by_time
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.timing import gain_of_compiling, time_calls

_FORMAT = 3  # raise it when what is measured changes

T = TypeVar("T")

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


def measured_costs(
    pool: NetworkPool, device: torch.device, patch_size: int, max_pixels: float, folder: Path | None = None
) -> CostModel:
    """The costs of the pool's networks on `device`: in at most some 20 seconds if they are not known yet, and if they
    are to be compiled, in what that takes for the full one.

    Args:
        pool: whose networks are timed; only their shapes matter.
        device: where they run.
        patch_size: LR pixels.
        max_pixels: LR pixels of the largest batch that fits into the memory.
        folder: where times are kept; None: `wbsr` in the user's cache folder.
    """
    folder, capture, subnets = folder or cache_folder(), pool.settings.capture, len(pool.source.subnets)
    key = _key(pool, device, patch_size)
    plain = pool
    if capture == "compile":
        plain = NetworkPool(pool.source, dataclasses.replace(pool.settings, capture="none"))
    timings = _kept(
        folder / f"latency-{key}.json",
        lambda: time_calls(plain, device, patch_size, max_pixels).plain(),
        lambda content: Timings.of_plain(content, subnets),
    )
    costs = costs_by_time(timings, pool.source, device, by_graphs=capture in ("auto", "graphs"))
    if capture == "graphs":
        return dataclasses.replace(costs, captured=(math.inf,) * subnets)
    if capture == "compile":
        path = folder / f"compiled-{key}.json"
        return costs.compiled(*_kept(path, lambda: gain_of_compiling(pool, timings, device), _two_gains))
    return costs


def cache_folder() -> Path:
    """`wbsr` in the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wbsr"


def _key(pool: NetworkPool, device: torch.device, patch_size: int) -> str:
    network, settings, is_cuda = pool.source, pool.settings, device.type == "cuda"
    content = {
        "format": _FORMAT,
        "weights": {name: list(weight.shape) for name, weight in network.state_dict().items()},
        "flops": {str(subnet): flops for subnet, flops in network.flops.items()},
        "windows": [patch_size, settings.window_halo],
        "device": torch.cuda.get_device_name(device) if is_cuda else [platform.node(), platform.processor()],
        "threads": None if is_cuda else torch.get_num_threads(),
        "precision": settings.precision,
        "self_ensemble": settings.self_ensemble,
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _kept(path: Path, measure: Callable[[], Any], read: Callable[[Any], T]) -> T:
    """What `read` makes of a file, or of what is measured now and then kept there."""
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        _logger.warning("The times in %s can't be read (%s): measuring again.", path, error)
    found = measure()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(found))
    except OSError as error:
        _logger.warning("The times are not kept, since %s can't be written (%s).", path.parent, error)
    return read(found)


def _two_gains(content: Any) -> tuple[float, float]:
    dense, windows = map(float, content)
    if not (dense > 0 and windows > 0):
        raise ValueError("it holds other numbers")
    return dense, windows
