"""Number formats of networks, under one name each in all option blocks."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "fp16", "float32"]  # the last is another word for the first

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def canonical(precision: str) -> Precision:
    """`fp32`, `bf16` or `fp16`.

    Raises:
        ValueError: another name, but for `float32`.
    """
    name = {"float32": "fp32"}.get(precision, precision)
    if name not in _DTYPES:
        raise ValueError(f"precision must be one of {', '.join(_DTYPES)}, got {precision!r}")
    return name  # type: ignore[return-value]


def dtype_of(precision: str) -> torch.dtype:
    """The type that `precision` names; raises what `canonical` does."""
    return _DTYPES[canonical(precision)]
