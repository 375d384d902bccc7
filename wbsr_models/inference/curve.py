"""Seconds of a network call as a function of its size: straight lines through what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Curve:
    """Seconds of one call by the LR pixels of its batch.

    Straight lines join the points and go on beyond the first and the last of them; a call never costs less than
    nothing. With one point, seconds are proportional to pixels.

    Args:
        points: (pixels, seconds), of increasing pixels, one at least; above 0, but for a point at 0 pixels.

    Raises:
        ValueError: no points, or pixels that don't increase.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        pixels = [x for x, _ in self.points]
        if not pixels or pixels != sorted(set(pixels)):
            raise ValueError(f"a curve needs points of increasing pixels, got {self.points}")

    @classmethod
    def line(cls, per_call: float, per_pixel: float) -> Curve:
        """`per_call` seconds, and `per_pixel` more for each pixel."""
        return cls(((0.0, per_call), (1.0, per_call + per_pixel)))

    def __call__(self, pixels: float | NDArray[np.integer]) -> NDArray[np.float64]:
        """Seconds of calls of so many pixels, of any shape."""
        x, y, slope = self._knots
        return np.asarray(np.interp(pixels, x, y) + np.maximum(pixels - x[-1], 0.0) * slope)

    def times(self, factor: float) -> Curve:
        """The same, each second `factor` seconds long."""
        return Curve(tuple((x, factor * y) for x, y in self.points))

    @property
    def per_call(self) -> float:
        """Seconds that a call costs beside its pixels."""
        return float(self._knots[1][0])

    @property
    def per_pixel(self) -> float:
        """Seconds that each pixel adds, over all points."""
        x, y, slope = self._knots
        mean = float((y[-1] - y[0]) / (x[-1] - x[0]))
        return mean if mean > 0 else slope

    @cached_property
    def _knots(self) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Pixels and seconds from 0 pixels on, and what a pixel adds beyond the last."""
        points = self.points
        (first, start), (last, end) = points[0], points[-1]
        if first > 0:
            slope = (points[1][1] - start) / (points[1][0] - first) if len(points) > 1 else start / first
            points = ((0.0, max(0.0, start - first * max(slope, 0.0))), *points)
        x, y = np.array(points, np.float64).T
        slope = (y[-1] - y[-2]) / (x[-1] - x[-2])
        return x, y, float(slope if slope > 0 else end / last)  # noise may let a larger call be the faster one
