"""One training step, from a batch to moved weights: what a model decides are its passes, all else stands here.

Tensors in, tensors out: a step reads no value of a tensor on the host, so the device never has to wait for it. All of
it is in `TrainingStep.__call__`, which does the same for every batch under passes of the same keys.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from wbsr_models.training.compute import Compute
from wbsr_models.training.moving_average import MovingAverage
from wbsr_models.training.weight_penalty import add_weight_penalty

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """What a step trains on, on the device that trains.

    `lr`: (N, C, h, w), and `hr`: (N, C, s·h, s·w), range 0-1. `difficulty`: (N,) classes 1..K, if the data set knows
    them. `teacher`: (N, C, s·h, s·w), the output of the pass before that teaches, if one does.
    """

    lr: Tensor
    hr: Tensor
    difficulty: Tensor | None = None
    teacher: Tensor | None = None


@dataclass(frozen=True)
class Pass:
    """A forward and backward pass.

    Args:
        key: names it: passes of one key run the same operators, whatever the batch.
        run: from a batch to the output (N, C, s·h, s·w) and the losses, scalars by name. It depends on the batch and
            the weights alone.
        teaches: its output, detached, is the teacher of the passes after it.
        averages: the processes of a distributed training average all gradients that there are after it; without, they
            add up on each process until a pass does that.
        weight: of its gradients in the sum; the losses that are told are without it.
    """

    key: Hashable
    run: Callable[[Batch], tuple[Tensor, Losses]]
    teaches: bool = False
    averages: bool = True
    weight: float = 1.0


class TrainingStep:
    """Zeroes the gradients, runs the passes, adds the weight penalty, clips, moves the weights and their average.

    A weight that no pass reaches has no gradient (None) and stays as it is, unless the penalty draws it in: a zero in
    its place would let Adam move it by its momentum.

    Args:
        network: as the passes call it, bare or in DistributedDataParallel.
        optimizer: of its weights.
        compute: number format and clipping.
        weight_penalty: λ of λ‖θ‖².
        average: of the weights, if one is kept.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        compute: Compute,
        weight_penalty: float = 0.0,
        average: MovingAverage | None = None,
    ) -> None:
        self._optimizer, self._compute, self._average = optimizer, compute, average
        self._weights, self._weight_penalty = list(network.parameters()), weight_penalty
        self._processes = network if isinstance(network, DistributedDataParallel) else None

    def __call__(self, batch: Batch, passes: Sequence[Pass]) -> tuple[Tensor, Losses]:
        """Train on a batch; the gradients of the passes, one at least, add up.

        Returns:
            The output of the last pass, and each loss as the mean over the passes that have it, all detached.
        """
        self._optimizer.zero_grad(set_to_none=True)
        found = []
        for each in passes:
            output, losses = self._run(each, batch)
            found.append(losses)
            if each.teaches:
                batch = replace(batch, teacher=output)
        self._compute.unscale(self._optimizer)
        means = _means(found)
        if self._weight_penalty:
            means["l_weights"] = add_weight_penalty(self._weights, self._weight_penalty)
        self._compute.step(self._optimizer)
        if self._average is not None:
            self._average.update()
        return output, means

    def _run(self, each: Pass, batch: Batch) -> tuple[Tensor, Losses]:
        with self._processes.no_sync() if self._processes and not each.averages else nullcontext():
            output, losses = each.run(batch)
            self._compute.backward(losses.values() if each.weight == 1 else [each.weight * v for v in losses.values()])
        return output.detach(), {name: loss.detach() for name, loss in losses.items()}


def _means(passes: Iterable[Losses]) -> Losses:
    by_name: dict[str, list[Tensor]] = {}
    for losses in passes:
        for name, loss in losses.items():
            by_name.setdefault(name, []).append(loss)
    return {name: _mean(values) for name, values in by_name.items()}


def _mean(values: list[Tensor]) -> Tensor:
    mean = values[0] / len(values) if len(values) > 1 else values[0]
    for value in values[1:]:
        mean = mean + value / len(values)
    return mean


def read_losses(losses: Losses, processes: int = 1) -> dict[str, float]:
    """The values of a step's losses as numbers: here the host waits for the device.

    Args:
        losses: scalars by name, the same names on all processes.
        processes: how many train together; with more than one, each must ask, and gets the means over all.
    """
    values = torch.stack(list(losses.values()))
    if processes > 1:
        distributed.all_reduce(values)
        values /= processes
    return dict(zip(losses, values.tolist(), strict=True))
