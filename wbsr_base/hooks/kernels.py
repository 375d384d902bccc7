"""Which kernels BasicSR's Adam computes by: one for all weights, where the device has it.

`get_optimizer` is wrapped: on CUDA, Adam is fused, unless the option file names `fused` or `foreach`. A resumed
training goes on by the kernels of its own start, whatever wrote the state: how it computes is no part of the training.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

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

    return resume_training


def by_own_kernels(state: dict[str, Any], own: Optimizer) -> dict[str, Any]:
    """An optimiser's state as the optimiser `own` would have saved it: with its kernels."""
    kernels = {name: own.defaults[name] for name in KERNELS if name in own.defaults}
    return {**state, "param_groups": [{**group, **kernels} for group in state["param_groups"]]}
