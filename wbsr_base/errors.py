"""Errors that somebody further up adds something to, or takes for what they are."""

from __future__ import annotations


class NotFiniteError(ValueError):
    """Numbers of a training step are NaN or infinite; `hooks/diverging.py` adds in which iteration."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python, NumPy, torch and OpenCV each have one of their own."""
    words = ("can't allocate memory", "not enough memory", "Insufficient memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)
