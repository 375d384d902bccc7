"""Number formats of networks, under one name each in all option blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16", "fp16", "float32"]  # the last is another word for the first

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # torch's names


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
    import torch

    dtype: torch.dtype = getattr(torch, _DTYPES[canonical(precision)])
    return dtype
