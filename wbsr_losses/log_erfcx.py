"""log erfcx(u) for u ≥ 0, where erfcx(u) = exp(u²) erfc(u): the tail of a Gaussian without its exponential.

torch.special.erfcx works number by number on a CPU. In float32 a polynomial is several times faster and as exact: with
t = 1 / (1 + u/2), log erfcx(u) - log t is smooth on all of 0 < t ≤ 1, both ends of the half-line included.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import torch
from numpy.polynomial import Chebyshev, Polynomial

DEGREE = 9  # error 2e-7, the rounding of float32


def log_erfcx(u: torch.Tensor) -> torch.Tensor:
    """log erfcx(u), to the precision of `u`, which must be at least 0 (not checked); not differentiable by autograd."""
    if u.dtype != torch.float32:
        exact: torch.Tensor = torch.special.erfcx(u).log()
        return exact
    t = u.mul(0.5).add_(1).reciprocal_()
    v = t.mul(2).sub_(1)
    *rest, highest = _coefficients()
    result = torch.full_like(v, highest)
    for coefficient in reversed(rest):
        result.mul_(v).add_(coefficient)
    return result.add_(t.log_())


@functools.cache
def _coefficients() -> tuple[float, ...]:
    """Coefficients of the powers of 2t - 1, lowest first."""

    def remainder(v: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        t = (torch.from_numpy(v) + 1) / 2
        return np.asarray((torch.special.erfcx(2 / t - 2) / t).log().numpy(), dtype=np.float64)

    series = Chebyshev.interpolate(remainder, DEGREE)  # type: ignore[arg-type]
    return tuple(float(c) for c in series.convert(kind=Polynomial).coef)
