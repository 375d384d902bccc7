"""Which kernels BasicSR's Adam computes by: one for all weights, where the device has it.

`get_optimizer` is wrapped: on CUDA, Adam is fused, unless the option file names `fused` or `foreach`. A resumed
training goes on by the kernels of its own start, whatever wrote the state: how it computes is no part of the training.
Nor is the memory layout of the moments: a fused kernel takes them for laid out as the weights are, and does not look.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

Method = Callable[..., Any]
KERNELS = ("fused", "foreach", "capturable")  # of an optimiser: how it computes, not what
_MARK = "chooses_kernels"


def mend() -> None:
    """Wrap both methods once."""
    from basicsr.models.base_model import BaseModel

    if not hasattr(BaseModel.get_optimizer, _MARK):
        BaseModel.get_optimizer = _fusing(BaseModel.get_optimizer)
        BaseModel.resume_training = _resuming(BaseModel.resume_training)
        setattr(BaseModel.get_optimizer, _MARK, True)


def _fusing(original: Method) -> Method:
    @functools.wraps(original)
    def get_optimizer(self: Any, optim_type: str, params: Any, lr: float, **kwargs: Any) -> Optimizer:
        if optim_type == "Adam" and self.device.type == "cuda" and not {"fused", "foreach"} & kwargs.keys():
            kwargs["fused"] = True
        optimizer: Optimizer = original(self, optim_type, params, lr, **kwargs)
        return optimizer

    return get_optimizer


def _resuming(original: Method) -> Method:
    @functools.wraps(original)
    def resume_training(self: Any, resume_state: dict[str, Any]) -> None:
        states = [
            by_own_kernels(state, own)
            for state, own in zip(resume_state["optimizers"], self.optimizers, strict=False)  # BasicSR counts them
        ]
        original(self, {**resume_state, "optimizers": [*states, *resume_state["optimizers"][len(states) :]]})
        for own in self.optimizers:
            lay_out_as_weights(own)

    return resume_training


def lay_out_as_weights(optimizer: Optimizer) -> None:
    """Lay out what an optimiser keeps of each weight in memory as the weight is; numbers stay what they are."""
    for weight, kept in optimizer.state.items():
        for name, value in kept.items():
            if torch.is_tensor(value) and value.shape == weight.shape and value.stride() != weight.stride():
                kept[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def by_own_kernels(state: dict[str, Any], own: Optimizer) -> dict[str, Any]:
    """An optimiser's state as the optimiser `own` would have saved it: with its kernels."""
    kernels = {name: own.defaults[name] for name in KERNELS if name in own.defaults}
    return {**state, "param_groups": [{**group, **kernels} for group in state["param_groups"]]}
