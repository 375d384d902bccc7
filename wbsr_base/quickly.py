"""Importing what takes seconds, in three quarters of them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Without the collector of garbage, which looks again and again at the thousands of objects that large packages
    make; they keep them, so it need not look at them later either."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
