"""What network calls take on the device at hand: measured once, then read from the user's cache folder.

FLOPs tell little of time: a network of 36 channels runs at two thirds of the arithmetic rate of one of 64 on a CPU, and
a GPU that is not busy takes as long for both. The cache's key is everything the times depend on: architecture, windows,
device, threads, precision, how calls are made, and torch's version.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from pathlib import Path

import torch

from wbsr_base.files import write_whole
from wbsr_models.inference.costs import CostModel
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.timing import time_calls

_FORMAT = 3  # raise it when what is measured changes

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


def measured_costs(
    pool: NetworkPool, device: torch.device, patch_size: int, max_pixels: int, folder: Path | None = None
) -> CostModel:
    """The costs of the pool's networks on `device`, in at most some 20 seconds if they are not known yet.

    Args:
        pool: whose networks are timed; only their shapes matter.
        device: where they run.
        patch_size: LR pixels.
        max_pixels: LR pixels of the largest batch that fits into the memory.
        folder: where times are kept; None: `wbsr` in the user's cache folder.
    """
    path = (folder or cache_folder()) / f"latency-{_key(pool, device, patch_size)}.json"
    known = _read(path, len(pool.source.subnets))
    if known is None:
        known = time_calls(pool, device, patch_size, max_pixels)
        _write(path, known)
    return known


def cache_folder() -> Path:
    """`wbsr` in the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wbsr"


def _key(pool: NetworkPool, device: torch.device, patch_size: int) -> str:
    network, settings, is_cuda = pool.source, pool.settings, device.type == "cuda"
    content = {
        "format": _FORMAT,
        "weights": {name: list(weight.shape) for name, weight in network.state_dict().items()},
        "flops": {str(subnet): flops for subnet, flops in network.flops.items()},
        "windows": [patch_size, settings.halo],
        "device": torch.cuda.get_device_name(device) if is_cuda else [platform.node(), platform.processor()],
        "threads": None if is_cuda else torch.get_num_threads(),
        "precision": settings.precision,
        "calls": [settings.capture, settings.self_ensemble],
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _read(path: Path, subnets: int) -> CostModel | None:
    try:
        return CostModel.of_plain(json.loads(path.read_text(encoding="utf-8")), subnets)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _logger.warning("The times in %s can't be read (%s): measuring again.", path, error)
        return None


def _write(path: Path, costs: CostModel) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(costs.plain()))
    except OSError as error:
        _logger.warning("The times are not kept, since %s can't be written (%s).", path.parent, error)
