"""The options of a training set that say where its decoded images stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from wbsr_base.options import parse


@dataclass(frozen=True)
class ResidentOptions:
    """Keys of the training set itself, beside its block `hes`.

    Args:
        resident: where all decoded images stay: on the training's GPU (`cuda`), in the host's memory (`cpu`), or
            nowhere (`false`: workers read and decode them). `auto`, where the training runs on a GPU, is `cuda` if they
            fit there, or `cpu` if they fit there and one process trains; else `false`. What is drawn is the same.
        resident_mb: MB that they may take; None is half of what is free there.

    Raises:
        ValueError: no memory at all, or a bound on nothing.
    """

    resident: Literal["auto", "cuda", "cpu", False] = "auto"
    resident_mb: int | None = None

    def __post_init__(self) -> None:
        if self.resident_mb is not None and self.resident_mb < 1:
            raise ValueError(f"resident_mb must be at least 1, got {self.resident_mb}: resident: false keeps nothing")


KEYS = tuple(field.name for field in fields(ResidentOptions))


def resident_options(opt: Mapping[str, Any], where: str) -> ResidentOptions:
    """The options of a training set, once the device that they name is there.

    Args:
        opt: all options of the set.
        where: its place in the option file, such as `datasets:train`.

    Raises:
        ValueError, TypeError: a value that is wrong, or `cuda` without CUDA.
    """
    options = parse(ResidentOptions, {key: opt[key] for key in KEYS if key in opt}, where)
    if options.resident == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{where}:resident is cuda, but there is no CUDA device here: write auto, cpu, or false")
    return options
