"""A batch of which only the draws are on the device, until somebody reads its patches or a recorded step cuts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from torch import Tensor

_PATCHES = ("lq", "gt")


class DrawnBatch(MutableMapping[str, Any]):
    """What a DataLoader would deliver; `lq` and `gt` are cut when one of them is first touched.

    Attributes: `draws`, what the patches are cut by, on the device of the images; None once they are cut. `cut`, which
    does it: the same for all batches of a loader.

    Args:
        entries: all of the batch, in order, with anything in the place of `lq` and `gt`.
        draws: of any shape.
        cut: makes `lq` and `gt` of `draws`, by the same operators for all batches of a size.
    """

    draws: Tensor | None

    def __init__(self, entries: Mapping[str, Any], draws: Tensor, cut: Callable[[Tensor], dict[str, Tensor]]) -> None:
        self._entries, self.draws, self.cut = dict(entries), draws, cut

    def __getitem__(self, key: str) -> Any:
        self._touch(key)
        return self._entries[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._touch(key)
        self._entries[key] = value

    def __delitem__(self, key: str) -> None:
        self._touch(key)
        del self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """As a copy, or in a pickle, it is a plain dictionary: not all images go with it."""
        return dict, (dict(self),)

    def _touch(self, key: str) -> None:
        if key in _PATCHES and self.draws is not None:
            self._entries.update(self.cut(self.draws))
            self.draws = None
