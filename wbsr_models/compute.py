"""How a training step computes: number format, memory layout, and the norm that gradients are clipped to.

train:
  compute: {precision: bf16, channels_last: true, clip_norm: 1.0}
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from wbsr_models.memory import keep_freed_blocks

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class ComputeOptions:
    """The block `train:compute`.

    Args:
        precision: of the networks' forward passes: `fp32`, or autocast to `bf16` or `fp16`. Weights, losses and the
            optimiser stay in float32; `fp16` scales the loss so that small gradients survive. Validation is in fp32.
        channels_last: keep weights and batches in the layout that convolutions on current GPUs want.
        clip_norm: the largest norm of all gradients together; None does not clip.

    Raises:
        ValueError: a number out of its range.
    """

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0, got {self.clip_norm}: leave it out to not clip")

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


class Compute:
    """Runs the steps of one optimiser under `ComputeOptions` on a device."""

    def __init__(self, options: ComputeOptions, device: torch.device) -> None:
        self._options, self._device = options, device
        if device.type == "cpu":
            keep_freed_blocks()
        self._scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        half = _HALVES.get(self._options.precision, torch.bfloat16)
        return torch.autocast(self._device.type, half, enabled=self._options.precision in _HALVES)

    def backward(self, losses: Iterable[Tensor]) -> None:
        """Add the gradients of the losses to the weights'."""
        torch.autograd.backward([self._scaler.scale(loss) for loss in losses])

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients of the optimiser's weights to their true size, before anything is added to them."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip, and step; under `fp16` no step if a gradient is not finite."""
        if self._options.clip_norm is not None:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(weights, self._options.clip_norm)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """What a resumed training needs, in plain types; empty without a scaler."""
        state: dict[str, Any] = self._scaler.state_dict()
        return state

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from `state`; an empty one, of a training without a scaler, is let be."""
        if state:
            self._scaler.load_state_dict(state)
