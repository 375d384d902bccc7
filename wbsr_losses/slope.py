"""A function that brings its own gradient: autograd keeps that alone, none of the numbers it came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

Work = Callable[[torch.Tensor, bool], tuple[torch.Tensor, torch.Tensor | None]]


def with_slope(x: torch.Tensor, work: Work) -> torch.Tensor:
    """`work(x, wanted)[0]`, whose gradient is `work(x, wanted)[1]`.

    Args:
        x: (N, C, P).
        work: from `x`, and whether the gradient is wanted, to values (N, P) or (N, C, P), each a function of its own
            pixel or element alone, and their derivatives (N, C, P). It runs outside autocast.

    Raises:
        NotImplementedError: on a backward pass for second derivatives, which would be wrong.
    """
    return cast(torch.Tensor, _WithSlope.apply(x, work))


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, work: Work) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            value, slope = work(x, ctx.needs_input_grad[0])
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        if torch.is_grad_enabled():
            raise NotImplementedError("this density is differentiable once: call backward without create_graph")
        (slope,) = ctx.saved_tensors
        return (grad if grad.ndim == slope.ndim else grad[:, None]) * slope, None
