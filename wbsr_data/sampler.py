"""The draw numbers of one rank, in the order in which a training takes them.

Every step of a training takes batch × ranks draws in a row; rank r takes each world_size-th of them. So the ranks
together take exactly the draws t = 0, 1, 2, ..., and a resumed training goes on at start_iteration × batch × ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from torch.utils.data import Sampler


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
    """A draw whose patch is planned already: its number t, and the candidate that it takes."""

    t: int
    candidate: int


class Plan(Protocol):
    """What maps draws to candidates."""

    def patch(self, t: int) -> int: ...


class DrawSampler(Sampler[Any]):
    """Yields draw numbers t for `HESPairedImageDataset`.

    The first epoch that `set_epoch` names starts at `start_draw`; each later one E draws after the one before.

    Args:
        epoch_draws: E, draws of all ranks in one epoch; a multiple of `world_size`.
        start_draw: draws which the training took before it (re)started here.
        rank: this process, in 0..world_size-1.
        world_size: number of processes.

    Raises:
        ValueError: a number out of its range.
    """

    def __init__(self, epoch_draws: int, start_draw: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if start_draw < 0:
            raise ValueError(f"start_draw must be at least 0, got {start_draw}")
        self._epoch_draws = epoch_draws
        self._start_draw = start_draw
        self._draws = rank_draws(epoch_draws, rank, world_size)
        self._first_epoch: int | None = None
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields; the first call marks where the training (re)started."""
        if self._first_epoch is None:
            self._first_epoch = epoch
        self._epoch = epoch - self._first_epoch

    def __len__(self) -> int:
        return len(self._draws)

    def __iter__(self) -> Iterator[int | Draw]:
        return iter(self._numbers())

    def _numbers(self) -> Iterable[int]:
        begin = self._start_draw + self._epoch * self._epoch_draws
        return (begin + draw for draw in self._draws)


class PlannedSampler(DrawSampler):
    """Yields draws with their patches, each planned when it is asked for: in the main process, which follows the
    training, and not in the workers, which don't.

    Args:
        plan: says which patch a draw takes.
        epoch_draws, start_draw, rank, world_size: as for `DrawSampler`.
    """

    def __init__(self, plan: Plan, epoch_draws: int, start_draw: int = 0, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(epoch_draws, start_draw, rank, world_size)
        self._plan = plan

    def __iter__(self) -> Iterator[int | Draw]:
        return (Draw(t, self._plan.patch(t)) for t in self._numbers())
