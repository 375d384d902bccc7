"""Data-loading workers that are started afresh: they need the mends as well.

Such a worker (multiprocessing's `spawn`: BasicSR's choice in distributed training, the default on some systems) begins
by importing the module of its dataset, that is BasicSR, before anything could mend it. So BasicSR's datasets are
pickled with a reference to this module, which is imported first, and installs the mends as it is.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable
from typing import Any

from wbsr_base import compat


def mend() -> None:
    """Pickle the datasets that BasicSR has registered by `reduce`."""
    from basicsr.utils.registry import DATASET_REGISTRY

    for _, dataset in DATASET_REGISTRY:
        copyreg.pickle(dataset, reduce)


def reduce(dataset: Any) -> tuple[Any, ...]:
    """What pickle stores of a dataset: as always, but made anew by `rebuild`."""
    make, arguments, *rest = dataset.__reduce_ex__(2)
    return rebuild, (make, arguments), *rest


def rebuild(make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Make a dataset; to find this function, pickle imports this module."""
    return make(*arguments)


if "basicsr" not in sys.modules:  # in a worker; everywhere else `install` imports this module, once BasicSR is there
    compat.install()
