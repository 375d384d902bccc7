"""A `TrainingStep` that is recorded for each draw of subnets, and replayed (`train:compute: {graphs: true}`).

Passes of the same keys run the same operators, whatever the batch: that is what makes a step recordable. What it does
to the weights stays what it was, those that a subnet doesn't reach included, which have no gradient and stay as they
are: each recording begins without gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wbsr_base.recorded_step import RecordedStep
from wbsr_models.training.step import Batch, Losses, Pass, TrainingStep

FIELDS = ("lr", "hr", "difficulty")


class RecordedTrainingStep:
    """Called as a `TrainingStep`, and does the same.

    Args:
        step: what is recorded.
        recordings: of it, for the optimiser that it steps.
    """

    def __init__(self, step: TrainingStep, recordings: RecordedStep) -> None:
        self._step, self.recordings = step, recordings

    def __call__(self, batch: Batch, passes: Sequence[Pass]) -> tuple[Tensor, Losses]:
        """Train on a batch; what is returned is valid until the next step."""
        given = {name: value for name in FIELDS if (value := getattr(batch, name)) is not None}

        def step(*inputs: Tensor) -> tuple[Tensor, Losses]:
            return self._step(Batch(**dict(zip(given, inputs, strict=True))), passes)

        return self.recordings((tuple(each.key for each in passes), tuple(given)), list(given.values()), step)
