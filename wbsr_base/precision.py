"""The number formats that networks run in, by their names in option files: `fp32`, `bf16` and `fp16`."""

from __future__ import annotations

from typing import Literal, get_args

import torch

Precision = Literal["fp32", "bf16", "fp16", "float32"]

_SYNONYMS = {"float32": "fp32"}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def canonical(name: str) -> Literal["fp32", "bf16", "fp16"]:
    """The one name of a precision; `float32` is another word for `fp32`.

    Raises:
        ValueError: it is no precision.
    """
    if name not in get_args(Precision):
        raise ValueError(f"precision must be one of {', '.join(_DTYPES)}, got {name!r}")
    known: Literal["fp32", "bf16", "fp16"] = _SYNONYMS.get(name, name)  # type: ignore[assignment]
    return known


def dtype_of(name: str) -> torch.dtype:
    """The type that a precision names.

    Raises:
        ValueError: it is no precision.
    """
    return _DTYPES[canonical(name)]
