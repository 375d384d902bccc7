"""Errors that somebody further up adds something to."""

from __future__ import annotations


class NotFiniteError(ValueError):
    """Numbers of a training step are NaN or infinite; `hooks/diverging.py` adds in which iteration."""
