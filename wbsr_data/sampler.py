"""The draws of one rank, in the order in which a training takes them.

Every step of a training takes batch × ranks draws in a row; rank r takes each world_size-th of them. So the ranks
together take exactly the draws t = 0, 1, 2, ..., and a resumed training goes on at start_iteration × batch × ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch.utils.data import Sampler

from wbsr_data.draws import DrawPlan, Plan


@dataclass(frozen=True)
class Course:
    """How a training takes its draws; see `wbsr_base.protocols.DrawsItsOrder`, from which the numbers come.

    Raises:
        ValueError: no full batch in an epoch, or a number out of its range.
    """

    batches_per_epoch: int
    batch_size: int
    total_iterations: int
    start_iteration: int = 0
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batches_per_epoch < 1 or self.batch_size < 1:
            raise ValueError(
                f"an epoch must have at least one full batch, got {self.batches_per_epoch} batches of "
                f"{self.batch_size}: lower batch_size_per_gpu or raise dataset_enlarge_ratio"
            )
        if self.start_iteration < 0:
            raise ValueError(f"start_iteration must be at least 0, got {self.start_iteration}")

    @property
    def step_draws(self) -> int:
        """Draws of all ranks in one iteration."""
        return self.batch_size * self.world_size

    @property
    def epoch_draws(self) -> int:
        """Draws of all ranks in one epoch."""
        return self.batches_per_epoch * self.step_draws

    @property
    def total_draws(self) -> int:
        """Draws of the whole training."""
        return self.total_iterations * self.step_draws

    @property
    def start_draw(self) -> int:
        """Draws that were taken before the training (re)started."""
        return self.start_iteration * self.step_draws


def rank_draws(draws: int, rank: int, world_size: int) -> range:
    """The draws among 0..draws-1 that a rank takes.

    Raises:
        ValueError: `draws` is no multiple of `world_size`, or a rank out of range.
    """
    if world_size < 1 or not 0 <= rank < world_size:
        raise ValueError(f"rank must be in 0..world_size-1, got rank {rank} of {world_size}")
    if draws < 1 or draws % world_size:
        raise ValueError(f"the draws of an epoch must be a multiple of the {world_size} ranks, got {draws}")
    return range(rank, draws, world_size)


class Draw(NamedTuple):
    """A draw that is planned: its number t, and the candidate that it takes."""

    t: int
    candidate: int


class DrawSampler(Sampler[Draw]):
    """Yields the draws of one rank, each planned when it is asked for: in the main process, so workers need no plan.

    The first epoch that `set_epoch` names starts where the training (re)starts; each later one an epoch's draws later.

    Args:
        plan: says which candidate a draw takes.
        course: of the training.

    Raises:
        ValueError: a rank out of range.
    """

    def __init__(self, plan: Plan, course: Course) -> None:
        self._plan, self._course = plan, course
        self._draws = rank_draws(course.epoch_draws, course.rank, course.world_size)
        self._first_epoch: int | None = None
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields; the first call marks where the training (re)started."""
        if self._first_epoch is None:
            self._first_epoch = epoch
        self._epoch = epoch - self._first_epoch

    def __len__(self) -> int:
        return len(self._draws)

    def __iter__(self) -> Iterator[Draw]:
        begin = self._course.start_draw + self._epoch * self._course.epoch_draws
        return (Draw(begin + draw, self._plan.patch(begin + draw)) for draw in self._draws)


class HESSampler(Sampler[int]):
    """The plan as a plain sampler, for training loops without BasicSR: yields candidate numbers for one rank.

    Call `set_epoch` before each epoch, as with PyTorch's `DistributedSampler`: it also moves the stage on.

    Args:
        plan: what is drawn; its E must be a multiple of `world_size`.
        rank: this process, in 0..world_size-1.
        world_size: number of processes.

    Raises:
        ValueError: E is no multiple of `world_size`, or a rank out of range.
    """

    def __init__(self, plan: DrawPlan, rank: int = 0, world_size: int = 1) -> None:
        self._plan = plan
        self._draws = rank_draws(plan.epoch_draws, rank, world_size)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the next iteration yields."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._draws)

    def __iter__(self) -> Iterator[int]:
        drawn = self._plan.epoch(self._epoch)
        return iter(drawn[self._draws].tolist())
