"""Images without HR images, fed to a model that has seen others.

BasicSR's models keep `gt` of the item before where an item has none. A set without HR images that validates a training
is compared with the last training batch so.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def mend() -> None:
    """Wrap `feed_data` of BasicSR's models that set `gt` only where there is one."""
    from basicsr.utils.registry import MODEL_REGISTRY

    for _, model in MODEL_REGISTRY:
        if "feed_data" in vars(model) and "if 'gt' in data:" in inspect.getsource(model.feed_data):
            model.feed_data = _forgetting(model.feed_data)


def _forgetting(original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    @functools.wraps(original)
    def feed_data(self: Any, data: Any) -> None:
        vars(self).pop("gt", None)
        original(self, data)

    return feed_data
