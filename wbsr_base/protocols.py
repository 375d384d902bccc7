"""What objects of ours and BasicSR's training agree upon."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class ChecksLater(Protocol):
    """A loss that notes what goes wrong where its tensors are, since the host would have to wait to see it."""

    def check(self) -> None:
        """Raise what went wrong since the last call; training calls it at each log line and before it saves."""
