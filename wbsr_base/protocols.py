"""What objects of different packages agree upon: who calls what, when, and with what.

A class takes part by having the methods; it need not name the protocol. Who asks does so by `isinstance`.

DrawsItsOrder         a training set brings its own sampler
BringsItsLoader       a training set makes whole batches itself
CutsLater             a batch leaves it to a recorded step to cut its patches
FollowsTraining       a training set learns what the model makes of its patches
AddsToCheckpoint      a model says more in its network files than weights
AddsToTrainingState   a model, or a training set, says more in the training state
ChecksOptions         a registered class checks its block of an option file
DeclaresOptions       a registered class says which keys it reads
NeedsLR               a loss looks at the LR image
DrawsAtRandom         a loss draws random numbers
KeepsState            a loss has a state that a resumed training goes on with
ChecksLater           a loss notes what goes wrong, and says so when it is asked
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.utils.data import Sampler


@runtime_checkable
class DrawsItsOrder(Protocol):
    """A training set that says which samples a training takes, in which order."""

    def training_sampler(
        self,
        *,
        batches_per_epoch: int,
        batch_size: int,
        total_iterations: int,
        start_iteration: int,
        rank: int,
        world_size: int,
        seed: int,
    ) -> Sampler[Any]:
        """The sampler of one rank's loader.

        `hooks/order.py` calls it once, when BasicSR has built its loader and before workers start. Like BasicSR's
        sampler it needs `set_epoch(epoch)`, which the training loop calls before each epoch.

        Args:
            batches_per_epoch: full batches of each rank in one epoch.
            batch_size: of each rank.
            total_iterations: `train:total_iter`.
            start_iteration: 0, or where a resumed training goes on.
            rank: this process, in 0..world_size-1.
            world_size: number of processes.
            seed: `manual_seed`, the same on all ranks.
        """
        ...


@runtime_checkable
class BringsItsLoader(DrawsItsOrder, Protocol):
    """A training set that makes whole batches of its draws, so that nothing is left for a DataLoader."""

    def training_loader(self, sampler: Any, batch_size: int, device: torch.device) -> Any:
        """What takes the place of the training's DataLoader, or None to keep that.

        `hooks/order.py` calls it after `training_sampler`. BasicSR's prefetchers iterate over it, anew for each epoch;
        it has `dataset`, `batch_size` and a length.

        Args:
            sampler: what `training_sampler` returned.
            batch_size: of this rank.
            device: the one that trains.
        """
        ...


@runtime_checkable
class CutsLater(Protocol):
    """A batch, a mapping like any other, that cuts its patches when they are first read.

    `hooks/recorded.py` asks for it: a recorded step takes the draws and cuts its own.
    """

    draws: Tensor | None
    """What patches are cut by, on the device that trains; None once they are cut."""
    cut: Callable[[Tensor], dict[str, Tensor]]
    """Makes `lq` and `gt` of draws, by the same operators whatever they are. Batches that are cut from the same images
    have the same function."""


@runtime_checkable
class AddsToTrainingState(Protocol):
    """A model with more to resume than optimisers and schedulers."""

    def training_extras(self) -> Mapping[str, Any]:
        """Further entries of the training state: plain types and tensors, under keys of its own.

        `compat/saving.py` calls it on rank 0 whenever a training state is saved.
        """
        ...


@runtime_checkable
class FollowsTraining(AddsToTrainingState, Protocol):
    """A training set that is told of every step, and keeps what it learns in the training state.

    `hooks/following.py` calls its methods, in the main process of every rank.
    """

    def observe(self, output: Tensor, gt: Tensor, batch: Mapping[str, Any], iteration: int) -> None:
        """Take in a step that has just ended.

        Args:
            output: (N, C, H, W), what the model has left in its `output`; where a step runs several subnets, of the
                last one. Not to be changed, and maybe with a graph behind it.
            gt: (N, C, H, W), on the same device.
            batch: as the loader delivered it.
            iteration: its number, from 1.
        """
        ...

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        """Go on from a training state; it may lack the entries of `training_extras`. Called before the first step."""
        ...


@runtime_checkable
class AddsToCheckpoint(Protocol):
    """A model whose network files hold more than weights."""

    def network_metadata(self, net_label: str) -> Mapping[str, Any]:
        """Further entries of a network file: plain types, under keys of its own, beside `params`.

        `compat/saving.py` calls it on rank 0 whenever a network is saved.

        Args:
            net_label: which network: `net_g`, `net_d`.
        """
        ...


@runtime_checkable
class ChecksOptions(Protocol):
    """A registered class that finds what is wrong in an option file before anything is read or built."""

    @staticmethod
    def check_options(options: dict[str, Any]) -> None:
        """Raise ValueError, TypeError or FileNotFoundError at what is wrong.

        `wbsr train` and `wbsr test` call it on the class, in their checks.

        Args:
            options: a copy of its block; a model's is the whole file, a data set's has `phase` and `scale` as BasicSR
                adds them.
        """
        ...


@runtime_checkable
class DeclaresOptions(Protocol):
    """A registered class that says which keys of an option file it reads, where its source does not show it.

    `wbsr train` and `wbsr test` refuse keys that nobody reads. They find what a class reads in its source
    (`opt["key"]`, `opt.get("key")`); a class that hides it, say by `Settings(**opt)`, may declare it.
    """

    option_keys: ClassVar[Mapping[str, Collection[str]]]
    """By the place of a block its further keys: for a data set `{"": ("my_key",)}`, the block of the set itself; for a
    model `{"": …, "train": …, "val": …}`, the file itself and blocks of it."""


@runtime_checkable
class NeedsLR(Protocol):
    """A loss that may look at the LR image.

    Our models ask at every step, and call it with `lq=`, (N, C, h, w), where `needs_lq` is true.
    """

    @property
    def needs_lq(self) -> bool:
        """Whether it does, with the options it has."""
        ...


@runtime_checkable
class DrawsAtRandom(Protocol):
    """A loss that may draw random numbers from a generator of its own, so that its steps are not recorded."""

    @property
    def draws(self) -> bool:
        """Whether it does, with the options it has."""
        ...


@runtime_checkable
class KeepsState(Protocol):
    """A loss whose next value depends on more than its input, such as on draws of its own."""

    def training_state(self) -> Mapping[str, Any]:
        """What it goes on with: plain types and tensors. `compat/saving.py` calls it for each training state."""
        ...

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `training_state` gave; an empty one leaves it as it is. `hooks/resuming.py` calls it."""
        ...


@runtime_checkable
class ChecksLater(Protocol):
    """A loss that notes what goes wrong where its tensors are, since the host would have to wait to see it."""

    def check(self) -> None:
        """Raise what went wrong since the last call.

        `hooks/checking.py` calls it at each log line, and before a checkpoint is written.
        """
        ...
