"""What takes the place of a DataLoader where all images are resident: whole batches, on the device that trains.

The draws are those of the sampler. A batch has the keys and values that a DataLoader would put together of the set's
items, bit for bit; `lq`, `gt` and `difficulty` lie on the device already, so a training never waits for them. Where the
images do too, patches are cut when somebody reads them: a recorded step takes the draws and cuts its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wbsr_base.devices import sent
from wbsr_data.crop import CropPlan
from wbsr_data.resident_batch import DrawnBatch
from wbsr_data.resident_filling import Resident
from wbsr_data.resident_pixels import Pixels
from wbsr_data.sampler import Draw, DrawSampler


@dataclass(frozen=True)
class Normalization:
    """BasicSR's `mean` and `std` of a training set, each (C,), on the device that trains."""

    mean: Tensor
    std: Tensor

    def __call__(self, patches: Tensor) -> Tensor:
        """(n, C, h, w) minus the mean, by the std; in place."""
        return patches.sub_(self.mean[:, None, None]).div_(self.std[:, None, None])


@dataclass(frozen=True)
class Batches:
    """Makes batches of draws.

    Args:
        resident: the images.
        crops: what a draw cuts.
        paths: per pair `lq_path` and `gt_path`.
        thresholds: (K-1,), which each item has.
        patch_size: LR pixels.
        device: the one that trains.
        normalize: None leaves the range 0-1.
    """

    resident: Resident
    crops: CropPlan
    paths: Sequence[Mapping[str, str]]
    thresholds: Tensor
    patch_size: int
    device: torch.device
    normalize: Normalization | None = None

    def __call__(self, draws: Sequence[Draw]) -> MutableMapping[str, Any]:
        """A batch of n draws: `lq` (n, C, h, w) and `gt` float32, `difficulty` int64 (n,), `thresholds` (n, K-1) on the
        CPU, and the paths; a `DrawnBatch` where the images lie on the device that trains."""
        numbers = np.array([draw.candidate for draw in draws], dtype=np.int32)
        crops = self.crops.crops([draw.t for draw in draws], numbers)
        difficulty = self.crops.index.difficulty[numbers]
        lr, hr = self.resident.lr, self.resident.hr
        rows = [*lr.walks(crops, self.patch_size), *hr.walks(crops, self.patch_size), difficulty.astype(np.int64)]
        packed = torch.from_numpy(np.stack(rows))
        on_device = lr.device == self.device
        if on_device:
            packed = self._sent(packed)  # one copy for all that the device has to know
        pairs = [self.paths[number] for number in crops.image.tolist()]
        entries = {
            "lq": None,
            "gt": None,
            "lq_path": [pair["lq_path"] for pair in pairs],
            "gt_path": [pair["gt_path"] for pair in pairs],
            "difficulty": packed[6] if on_device else self._sent(packed[6]),
            "thresholds": self.thresholds.expand(len(draws), -1),
        }
        return DrawnBatch(entries, packed[:6], self.cut) if on_device else entries | self.cut(packed[:6])

    def cut(self, walks: Tensor) -> dict[str, Tensor]:
        """Cut the patches of a batch, by the same operators for all of its size.

        Args:
            walks: int64 (6, n), on the device of the images: those of LR and of HR (`Pixels.walks`).

        Returns:
            `lq` and `gt`, on the device that trains.
        """
        return {"lq": self._patches(self.resident.lr, walks[:3]), "gt": self._patches(self.resident.hr, walks[3:])}

    def _patches(self, pixels: Pixels, walks: Tensor) -> Tensor:
        patches = pixels.to_float(self._sent(pixels.gather(walks, self.patch_size * pixels.scale)))
        return patches if self.normalize is None else self.normalize(patches)

    def _sent(self, tensor: Tensor) -> Tensor:
        """A tensor on the device that trains. Nobody waits for the copy; PyTorch does not use the pinned memory that it
        reads for another tensor before it is done."""
        return tensor if tensor.device == self.device else sent(tensor, self.device)


class ResidentLoader:
    """Yields the batches of an epoch; an incomplete one at its end is dropped.

    Args:
        dataset: whose batches they are, for those who ask a loader.
        sampler: the draws.
        batch_size: of them.
        batches: makes them.
    """

    def __init__(self, dataset: Any, sampler: DrawSampler, batch_size: int, batches: Batches) -> None:
        self.dataset, self.sampler, self.batch_size = dataset, sampler, batch_size
        self._batches = batches

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[MutableMapping[str, Any]]:
        draws = iter(self.sampler)
        while len(batch := list(itertools.islice(draws, self.batch_size))) == self.batch_size:
            yield self._batches(batch)
