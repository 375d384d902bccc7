"""What the options of a training set say of its items, before there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wbsr_base.options import parse
from wbsr_data.dda.options import DDAOptions
from wbsr_data.hes.options import parse_hes


def difficulty_classes(train: Mapping[str, Any]) -> int | None:
    """How many difficulty classes the items of a training set are sorted in; None for a type whose items carry none.

    Args:
        train: the block `datasets:train` of an option file.

    Raises:
        ValueError, TypeError: something in its block `hes` is wrong.
    """
    where = "datasets:train:hes"
    if train.get("type") == "HESPairedImageDataset":
        return parse_hes(train.get("hes"), where).num_classes
    if train.get("type") == "DDAPairedImageDataset":
        return parse(DDAOptions, train.get("hes"), where).num_classes
    return None
