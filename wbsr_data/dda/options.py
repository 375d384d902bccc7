"""The `hes` block of a `DDAPairedImageDataset`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wbsr_base.options import parse
from wbsr_data.hes.options import PatchOptions


@dataclass(frozen=True)
class DDAOptions(PatchOptions):
    """Patches and classes as for HES; drawn by the losses of the classes.

    Args:
        sample_level: share of the training that draws uniformly, in [0, 1].
        refresh: iterations of a section, after which the losses of the classes are looked at again.
    """

    sample_level: float = 0.0
    refresh: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refresh < 1:
            raise ValueError(f"refresh must be at least 1, got {self.refresh}")


def parse_dda(opt: Mapping[str, Any], where: str) -> DDAOptions:
    """The options of a training set's block `hes`.

    Args:
        opt: all options of the set.
        where: its place in the option file, such as `datasets:train`.

    Raises:
        ValueError, TypeError: as in `wbsr_base.options.parse`; `refresh` is too small for the losses to be known before
            workers and prefetching read the batches that follow them.
    """
    options = parse(DDAOptions, opt.get("hes"), f"{where}:hes")
    least = least_refresh(int(opt.get("num_worker_per_gpu") or 0), int(opt.get("num_prefetch_queue") or 1))
    if options.refresh < least:
        raise ValueError(
            f"{where}:hes:refresh must be at least {least}, since batches are read ahead, got {options.refresh}: raise "
            "it, or lower num_worker_per_gpu"
        )
    return options


def least_refresh(workers: int, queue: int) -> int:
    """The fewest iterations of a section for which its losses are known in time.

    Args:
        workers: of the loader, each of which prepares two batches ahead.
        queue: batches that BasicSR's prefetching (`num_prefetch_queue`) holds.
    """
    return 2 * workers + queue + 3
