"""Training steps that are recorded, one for each key, and replayed.

The first steps of a key run as ever. They make what is made once: the optimiser's state, the choice of kernels. The
next one is recorded and, as all after it, replayed. So every step of a training is taken exactly once, whoever runs it.
Of what changes from step to step a recording sees two things: its inputs, which are copied into tensors of its own, and
the learning rates, which BasicSR goes on writing as numbers and which here become tensors that the optimiser reads.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from wbsr_base.recording import Recorder, RecordingError

T = TypeVar("T")
WARM_UPS = 2
MOST = 64  # recordings; each holds some thousand launches


@dataclass
class _Kept:
    """What is kept of a key: how often it ran as ever, and its recording."""

    runs: int = 0
    replay: Callable[[], None] | None = None
    result: Any = None


class Rates:
    """The learning rates of an optimiser as tensors, lent to it while a step is run or recorded.

    Args:
        optimizer: BasicSR writes numbers to the `lr` of its groups.
        device: of its weights.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        dtype = torch.float32 if device.type == "cuda" else torch.float64  # CUDA's kernel reads a float32
        self._optimizer, self._on_cuda = optimizer, device.type == "cuda"
        self._tensors = [torch.zeros((), dtype=dtype, device=device) for _ in optimizer.param_groups]

    def write(self) -> None:
        """Take over the numbers as they are now."""
        for tensor, group in zip(self._tensors, self._optimizer.param_groups, strict=True):
            tensor.fill_(group["lr"])

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let the optimiser read the tensors."""
        groups = self._optimizer.param_groups
        kept = [dict(group) for group in groups]
        recording = self._on_cuda and torch.cuda.is_current_stream_capturing()
        for group, tensor in zip(groups, self._tensors, strict=True):
            group["lr"] = tensor
            if recording and "capturable" in group:
                group["capturable"] = True  # or PyTorch refuses
        try:
            yield
        finally:
            for group, before in zip(groups, kept, strict=True):
                group.update({name: before[name] for name in ("lr", "capturable") if name in before})


class RecordedStep:
    """Takes the steps of a training, by recordings once it has them.

    Args:
        optimizer: with all its groups; its kernels must take learning rates as tensors, as fused ones do.
        device: that trains.
        recorder: makes the recordings.
        report: is told, once, why steps are not recorded any more, or not all.
        warm_ups: how often the step of a key runs as ever before it is recorded, at least 1.
        most: recordings that are made; the steps of further keys go on running as ever.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        recorder: Recorder,
        report: Callable[[str], None],
        warm_ups: int = WARM_UPS,
        most: int = MOST,
    ) -> None:
        self._rates = Rates(optimizer, device)
        self._recorder: Recorder | None = recorder
        self._report, self._warm_ups, self._most = report, warm_ups, most
        self.forget()

    def forget(self) -> None:
        """Drop all recordings, since tensors of theirs have been replaced."""
        self._steps: dict[Hashable, _Kept] = {}
        self._inputs: dict[Hashable, list[Tensor]] = {}
        self._full = False

    @property
    def recordings(self) -> int:
        """How many there are."""
        return sum(kept.replay is not None for kept in self._steps.values())

    def __call__(self, key: Hashable, inputs: Sequence[Tensor], step: Callable[..., T]) -> T:
        """Take a step.

        Args:
            key: steps of one key and of inputs of the same shapes run the same operators.
            inputs: what changes from step to step.
            step: takes a step on such inputs, and returns tensors, lists or dictionaries of them.

        Returns:
            What the step returns. Its tensors are valid until the next step.
        """
        if self._recorder is None:
            return step(*inputs)
        self._rates.write()
        form = tuple((each.shape, each.stride(), each.dtype) for each in inputs)
        if form not in self._inputs:
            self._inputs[form] = [torch.empty_like(each) for each in inputs]
        static = self._inputs[form]
        for own, each in zip(static, inputs, strict=True):
            own.copy_(each)
        kept = self._steps.setdefault((key, form), _Kept())

        def taken() -> T:
            with self._rates.lent():
                return step(*static)

        if kept.replay is None and (kept.runs < self._warm_ups or not self._has_room()):
            return self._run(self._recorder, kept, taken)
        if kept.replay is None:
            try:
                kept.replay, kept.result = self._recorder.record(taken)
            except RecordingError as error:
                self._give_up(f"the step can't be recorded ({error})")
                return step(*inputs)
        kept.replay()
        result: T = kept.result
        return result

    def _run(self, recorder: Recorder, kept: _Kept, taken: Callable[[], T]) -> T:
        kept.runs += 1
        if kept.runs != self._warm_ups:
            return recorder.run(taken)
        result, waited = recorder.watch(taken)
        if waited is not None:
            self._give_up(f"the host waits for the device in a step ({waited})")
        return result

    def _has_room(self) -> bool:
        if self.recordings < self._most:
            return True
        if not self._full:
            self._full = True
            self._report(f"{self._most} kinds of steps are recorded; further ones run as ever")
        return False

    def _give_up(self, reason: str) -> None:
        self.forget()
        self._recorder = None
        self._report(f"{reason}: steps run as ever")
