"""`DDAPairedImageDataset`: the HES data set, with patches drawn by the losses that the model has on their classes.

It takes the options of `HESPairedImageDataset`, with a block `hes` of `DDAOptions`. What is drawn, and when, says
`wbsr_data/dda/`. The set has to be told of every step (`wbsr_base.protocols.FollowsTraining`): BasicSR's training loop
does so, with `SRModel` and its descendants; in a loop of your own, call `observe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from wbsr_base.basicsr import DATASET_REGISTRY
from wbsr_data.dda.class_losses import ClassLosses
from wbsr_data.dda.loss_meter import LossMeter
from wbsr_data.dda.options import DDAOptions, parse_dda
from wbsr_data.dda.plan import FollowingPlan
from wbsr_data.draws import Plan
from wbsr_data.hes.dataset import HESPairedImageDataset
from wbsr_data.hes.options import check_pairs
from wbsr_data.sampler import Course

_STATE = "class_losses"  # of the training state


@DATASET_REGISTRY.register()  # type: ignore[untyped-decorator]
class DDAPairedImageDataset(HESPairedImageDataset):
    """LR/HR patches drawn by the running losses of their classes.

    Args:
        opt: BasicSR's dataset options with the block `hes`; it is not changed.

    Raises:
        ValueError, TypeError, FileNotFoundError: as `HESPairedImageDataset`; or `hes:refresh` is too small.
    """

    hes: DDAOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__(opt)
        self.meter = LossMeter(ClassLosses(self.index.num_classes, self.hes.refresh))

    @classmethod
    def _parse(cls, opt: Mapping[str, Any], where: str) -> DDAOptions:
        check_pairs(opt, where)
        return parse_dda(opt, where)

    def _plan(self, course: Course, seed: int) -> Plan:
        refresh = self.hes.refresh
        losses = ClassLosses(self.index.num_classes, refresh, first=course.start_iteration // refresh)
        self.meter = LossMeter(losses)
        return FollowingPlan(self.index, losses, self.hes, course, seed)

    def observe(self, output: Tensor, gt: Tensor, batch: Mapping[str, Any], iteration: int) -> None:
        """Take in a step of the training that `training_sampler` has planned; on all ranks.

        Args:
            output: (N, C, H, W).
            gt: the same.
            batch: of this set, with `difficulty` (N,).
            iteration: its number, from 1.
        """
        self.meter.measure(output, gt, batch["difficulty"], iteration)

    def training_extras(self) -> dict[str, Any]:
        """The losses so far, for the training state."""
        return {_STATE: self.meter.state()}

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        """Go on from the losses of a training state; without any, or with other settings, drawing starts uniformly."""
        self.meter.restore(resume_state.get(_STATE))
