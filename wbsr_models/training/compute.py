"""How a training step computes: number format, memory layout, and the norm that gradients are clipped to.

train:
  compute: {precision: bf16, channels_last: true, clip_norm: 1.0, graphs: true}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wbsr_base.devices import keep_freed_blocks
from wbsr_base.options import parse
from wbsr_base.precision import Precision, canonical, dtype_of
from wbsr_models.training.guard import GradientGuard


@dataclass(frozen=True)
class ComputeOptions:
    """The block `train:compute`.

    Args:
        precision: of the networks' forward passes: `fp32`, or autocast to `bf16` or `fp16`. Weights, outputs,
            losses and the optimiser stay in float32; `fp16` scales the loss so that small gradients survive. Validation
            is in fp32.
        channels_last: keep weights and batches in the layout that convolutions on current GPUs want.
        clip_norm: the largest norm of all gradients together; None does not clip.
        clip_ratio: clip gradients whose norm is above so many times the median of the last 100 steps, and leave out
            gradients that are not finite; the log says how many steps that were. None does neither.
        graphs: on a GPU, record the step of each subnet once, as a CUDA graph, and replay it; the log says where that
            can't be. What is trained is the same.
        compile: of a supernet, compile each subnet by torch.compile when it is first trained, which takes a while.

    Raises:
        ValueError: a number out of its range.
    """

    precision: Precision = "fp32"
    channels_last: bool = False
    clip_norm: float | None = None
    clip_ratio: float | None = 4.0
    graphs: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", canonical(self.precision))
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be above 0, got {self.clip_norm}: leave it out to not clip")
        if self.clip_ratio is not None and not self.clip_ratio > 1:
            raise ValueError(f"clip_ratio must be above 1, got {self.clip_ratio}: write ~ to clip at no ratio")

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


class Compute:
    """Runs the parts of a training step under `ComputeOptions` on a device.

    What the last layers put out is float32 in any precision, so that what is added to it is added in float32: an image
    in bf16 has steps of 1/256 from half brightness on, in which the residual of a young network is lost when it is
    added to the upsampled input. The gradients then say little about the weights, and a network may unlearn its
    residual for good: see docs/findings/strategies.md.

    Args:
        options: how to compute.
        device: where.
        output_layers: the layers that make the networks' output.
    """

    def __init__(self, options: ComputeOptions, device: torch.device, output_layers: Sequence[nn.Module] = ()) -> None:
        self._options, self._device = options, device
        if device.type == "cpu":
            keep_freed_blocks()
        if options.precision != "fp32":
            put_out_float32(output_layers)
        self.guard = GradientGuard(options.clip_ratio, device) if options.clip_ratio is not None else None
        self._scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")

    def autocast(self) -> AbstractContextManager[None]:
        """The context of a forward pass."""
        if self._options.precision == "fp32":
            return nullcontext()
        # A weight is cast where it is used, once in a forward pass, so a cache of casts saves nothing; and a recorded
        # step must not find casts of another one.
        return torch.autocast(self._device.type, dtype_of(self._options.precision), cache_enabled=False)

    def backward(self, losses: Iterable[Tensor]) -> None:
        """Add the gradients of the losses to the weights'."""
        torch.autograd.backward([self._scaler.scale(loss) for loss in losses])

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients of the optimiser's weights to their true size, before anything is added to them."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip, and step; under `fp16` no step if a gradient is not finite."""
        if self.guard is not None:
            self.guard(optimizer, self._scaler.is_enabled(), read_next=self._options.clip_norm is not None)
        if self._options.clip_norm is not None:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(weights, self._options.clip_norm)  # by `foreach` where the device has it
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """What a resumed training needs, in plain types."""
        return {"scaler": self._scaler.state_dict(), "guard": self.guard.state() if self.guard else {}}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from `state`; what it lacks, as that of a training without a scaler does, is let be."""
        if state.get("scaler"):
            self._scaler.load_state_dict(state["scaler"])
        if self.guard is not None:
            self.guard.resume(state.get("guard", {}))


def put_out_float32(layers: Iterable[nn.Module]) -> None:
    """From now on these layers, and copies of them, put out float32 within autocast. Elsewhere nothing changes."""
    for layer in layers:
        layer.forward = partial(_forward_to_float32, layer)  # type: ignore[method-assign]


def _forward_to_float32(layer: nn.Module, x: Tensor) -> Any:
    output = type(layer).forward(layer, x)
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):  # where operators are counted there is no autocast
        return output
    return output.float()


def compute_options(opt: dict[str, Any]) -> ComputeOptions:
    """The block `train:compute` of an option file.

    Raises:
        ValueError, TypeError: something in it is wrong.
    """
    return parse(ComputeOptions, opt.get("train", {}).get("compute"), "train:compute")
