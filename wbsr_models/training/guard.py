"""Gradients far above what is usual are clipped, those that are no numbers count for nothing: either could end a
training.

A young network can lose what it learnt within a hundred steps: one gradient that is ten times the others throws it far
enough for the next ones to be as large. Which norm is usual is not known beforehand and changes as training goes on, so
it is read off the steps themselves: the median of the last ones. All of it stays on the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

STEPS = 100  # whose median is what is usual


class GradientGuard:
    """Looks at the gradients of each step: tensors in, tensors out, no value read by the host.

    The norm of all gradients together is held to `ratio` times the median of the norms of the last 100 steps, as they
    were clipped; until there have been 50, to nothing. Where it is not finite, a fused optimiser leaves out the
    step; others see gradients of zero, so that nothing but their momentum moves the weights.

    Args:
        ratio: above 1.
        device: where the gradients are.
    """

    def __init__(self, ratio: float, device: torch.device) -> None:
        self._ratio = ratio
        self._norms = torch.full((STEPS,), math.inf, device=device)
        self._least = torch.tensor(1e-30, device=device)  # for steps without any gradient are possible
        self._counts = torch.zeros(2, device=device)
        self._told = {"clipped": 0.0, "left_out": 0.0}

    @torch.no_grad()
    def __call__(self, optimizer: Optimizer, scaled: bool = False, read_next: bool = False) -> None:
        """Hold the gradients of the optimiser's weights to what is usual.

        Args:
            optimizer: which takes its step next.
            scaled: a loss scaler finds what is not finite and leaves out such steps, which are no news.
            read_next: the gradients are looked at before that step, so a fused optimiser can't be left to divide them.
        """
        gradients = [
            weight.grad for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None
        ]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        gap = norm - norm  # 0, or NaN where the norm is not finite, which an infinite one now becomes too
        norm = norm + gap
        wrong = torch.nan_to_num(gap, nan=1.0)
        limit = torch.add(self._least, self._norms.median(), alpha=self._ratio)
        excess = (norm / limit).clamp(min=1)
        self._norms.copy_(torch.cat([self._norms[1:], torch.fmin(norm, limit)[None]]))  # of NaN and limit, the limit
        self._counts.add_(torch.stack([excess > 1, torch.zeros_like(wrong) if scaled else wrong]))
        fused = optimizer.defaults.get("fused") and not scaled
        if fused:
            optimizer.found_inf = wrong  # type: ignore[attr-defined]
        if fused and not read_next:
            optimizer.grad_scale = excess  # type: ignore[attr-defined]
            return
        torch._foreach_div_(gradients, excess)
        if not fused:
            for gradient in gradients:
                torch.nan_to_num_(gradient, 0.0, 0.0, 0.0)

    @property
    def counts(self) -> dict[str, Tensor]:
        """How many steps were clipped and left out so far, scalars on the device."""
        return {"clipped": self._counts[0], "left_out": self._counts[1]}

    def news(self, counts: Mapping[str, float]) -> str | None:
        """What `counts`, as numbers, say that the last ones did not, in a sentence; None if they are the same."""
        clipped, left_out = (int(counts[name] - self._told[name]) for name in ("clipped", "left_out"))
        self._told = dict(counts)
        if not clipped + left_out:
            return None
        return (
            f"Since the last line {clipped} steps had gradients of more than {self._ratio:g} times their usual norm "
            f"and were clipped, {left_out} had gradients that are no finite numbers and were left out: if it goes on, "
            "lower train:optim_g:lr or lengthen train:warmup_iter."
        )

    def state(self) -> dict[str, Any]:
        """What a resumed training needs, in plain types."""
        return {"norms": self._norms.tolist(), "counts": self._counts.tolist()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from `state`; an empty one, of a training without a guard, is let be."""
        if state:
            self._norms.copy_(torch.tensor(state["norms"]))
            self._counts.copy_(torch.tensor(state["counts"]))
            self._told = dict(zip(self._told, state["counts"], strict=True))
