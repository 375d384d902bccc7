"""What a WBSR checkpoint says beside its weights, under the key `wbsr`, in plain types.

    {"params": ..., "params_ema": ..., "wbsr": {"version": 1, "network": {...}, "patch_size": 32, "thresholds": [...]}}

BasicSR reads the weights and ignores the rest; `torch.load(weights_only=True)` reads all of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wbsr_base.options import parse
from wbsr_models.routing.profile import Profile

VERSION = 1


@dataclass(frozen=True)
class Metadata:
    """The `wbsr` entry of a checkpoint.

    Args:
        network: the options of `network_g`.
        profile: what routing needs to know; its fields stand in the entry beside the others.
        training: how far the training was, and its strategy.
        version: of the entry's format.
    """

    network: dict[str, Any]
    profile: Profile
    training: dict[str, Any] | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError(f"version must be at least 1, got {self.version}")

    def plain(self) -> dict[str, Any]:
        """The entry as plain types."""
        entry: dict[str, Any] = _plain(asdict(self))
        flat = {"network": entry["network"], **entry.pop("profile"), **entry}
        return {name: value for name, value in flat.items() if value is not None}


def read_metadata(content: dict[str, Any], path: str | Path) -> Metadata | None:
    """The `wbsr` entry of a loaded checkpoint; None for a stock one.

    Raises:
        ValueError, TypeError: a newer version of wbsr wrote the entry, or it is damaged.
    """
    entry = content.get("wbsr")
    if entry is None:
        return None
    where = f"weights {path}: wbsr"
    version = entry.get("version") if isinstance(entry, dict) else None
    if isinstance(version, int) and version > VERSION:  # before keys that this version does not know are called wrong
        raise ValueError(f"{where}: version must be at most {VERSION}, got {version}: install a newer wbsr")
    if not isinstance(entry, dict):
        raise TypeError(f"{where} must be a block of keys, got {entry!r}")
    known = {field.name for field in fields(Profile)}
    profile = parse(Profile, {key: value for key, value in entry.items() if key in known}, where)
    return parse(Metadata, {"profile": profile, **{k: v for k, v in entry.items() if k not in known}}, where)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
