"""Validation shared among the processes of a distributed run: each takes every n-th image, all get the numbers of all.

BasicSR leaves it to the first process, one image at a time, while the others wait.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from wbsr_base.basicsr import SRModel

T = TypeVar("T")


class Share(Dataset[Any]):
    """The images `rank`, `rank` + `world_size`, ... of a validation set.

    A rank for which none is left gets the first image, so that it takes part in the exchange; its `count` is 0.
    """

    def __init__(self, dataset: Any, rank: int, world_size: int) -> None:
        self.opt, self._dataset = dataset.opt, dataset
        own = range(rank, len(dataset), world_size)
        self.count = len(own)
        self._indices = own or range(1)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[self._indices[index]]


class SharedValidation(SRModel):  # type: ignore[misc]
    """An SRModel whose processes validate together, with the numbers that one process would find."""

    _share: Share | None = None

    def dist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        """Validate on this process's images."""
        share = Share(dataloader.dataset, self.opt["rank"], self.opt["world_size"])
        self._share = share
        try:
            self.nondist_validation(DataLoader(share), current_iter, tb_logger, save_img and share.count > 0)
        finally:
            self._share = None

    def gathered(self, items: list[T]) -> list[T]:
        """The items of all processes, one for each image, in the order of the images."""
        if self._share is None:
            return items
        everyone = _gather(items[: self._share.count])
        longest = max(map(len, everyone))
        return [part[turn] for turn in range(longest) for part in everyone if turn < len(part)]

    def _update_best_metric_result(self, dataset_name: str, metric: str, val: float, current_iter: Any) -> None:
        if self._share is not None:  # `val` is the mean over this process's images
            parts = _gather((val, self._share.count))
            val = sum(mean * count for mean, count in parts if count) / sum(count for _, count in parts)
            self.metric_results[metric] = val
        super()._update_best_metric_result(dataset_name, metric, val, current_iter)


def _gather(value: T) -> list[T]:
    """The value of every process, in the order of their ranks."""
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, value)
    return everyone
