"""What a WBSR checkpoint says beside its weights, under the key `wbsr`, in plain types.

    {"params": ..., "params_ema": ..., "wbsr": {"version": 1, "network": {...}, "patch_size": 32, "thresholds": [...]}}

BasicSR reads the weights and ignores the rest; `torch.load(weights_only=True)` reads all of it.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from wbsr.options import parse

VERSION = 1


@dataclass(frozen=True)
class Metadata:
    """The `wbsr` entry of a checkpoint.

    `network`: the options of `network_g`; `patch_size`: LR pixels; `thresholds`: K-1 increasing scores, or None if
    the training had no difficulty classes.
    """

    network: dict[str, Any]
    patch_size: int
    thresholds: tuple[float, ...] | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version > VERSION:
            raise ValueError(f"version must be at most {VERSION}, got {self.version}: install a newer wbsr")
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, got {self.patch_size}")

    def plain(self) -> dict[str, Any]:
        """The entry as plain types."""
        thresholds = None if self.thresholds is None else list(self.thresholds)
        return {**asdict(self), "network": _plain(self.network), "thresholds": thresholds}


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Everything in a checkpoint file, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint, or is damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"weights {path}: there is no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"weights {path} can't be read as a checkpoint: damaged, or another kind of file") from error
    if not isinstance(content, dict):
        raise ValueError(f"weights {path} must hold a dictionary with `params`, got {type(content).__name__}")
    return content


def read_metadata(content: dict[str, Any], path: str | Path) -> Metadata | None:
    """The `wbsr` entry of a loaded checkpoint; None for a stock one."""
    entry = content.get("wbsr")
    return None if entry is None else parse(Metadata, entry, f"weights {path}: wbsr")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
