"""`HESPairedImageDataset`: BasicSR's paired training set, with patches drawn by hierarchical equalization sampling.

It takes every option of `PairedImageDataset` plus the block `hes` (`HESOptions`). At start it scores all candidate
crops of the LR images (cached on disk), and finds bad pairs then, not in the middle of a training.

`dataset[t]` is draw number t of the training: a plan says which crop it takes (`crop.py`), the images give its pixels
(`pair_images.py`), and here they become BasicSR's tensors. The training loop gets its sampler from `training_sampler`;
`wbsr_base.hooks` asks for it where BasicSR builds its own. Without it, the set has len(dataset) draws, all of the
sample-level stage and the same in every epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torchvision.transforms.functional import normalize

from wbsr_base.basicsr import (
    DATASET_REGISTRY,
    PairedImageDataset,
    bgr2ycbcr,
    get_dist_info,
    get_root_logger,
    img2tensor,
)
from wbsr_base.pixels.images import Pixels, to_float
from wbsr_data.crop import CropPlan, Crops
from wbsr_data.draws import DrawPlan, Plan
from wbsr_data.hes.options import PatchOptions, check_pairs, parse_hes
from wbsr_data.pair_images import PairImages
from wbsr_data.patch_index import IndexSettings
from wbsr_data.reader import PairReader
from wbsr_data.resident_filling import Filling
from wbsr_data.resident_loader import Batches, Normalization, ResidentLoader
from wbsr_data.resident_options import resident_options
from wbsr_data.sampler import Course, Draw, DrawSampler

_NAMED = 5  # images that a warning names


@DATASET_REGISTRY.register()  # type: ignore[untyped-decorator]
class HESPairedImageDataset(PairedImageDataset):
    """LR/HR patches drawn by difficulty; see the top of this file.

    Attributes: `hes`, the options; `index` of the candidates; `images`, the pairs; `patch_size` in LR pixels;
    `thresholds`, float32 (K-1,), of the RMS gradient magnitude.

    Args:
        opt: BasicSR's dataset options with the block `hes`; it is not changed.

    Raises:
        ValueError: an option that is missing or out of range, an image that is damaged, a pair whose sizes do not
            match the scale, an empty folder, no image as large as a patch, more classes than candidates.
        TypeError: a value of another type than its option's.
        FileNotFoundError: a folder or an image that does not exist.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        opt = copy.deepcopy(dict(opt))
        where = f"datasets:{opt.get('phase', 'train')}"
        hes = self.hes = self._parse(opt, where)
        self.resident = resident_options(opt, where)
        try:
            super().__init__(opt)
        except AssertionError as error:
            raise ValueError(f"{where}: {error} Every HR image needs its LR image; see filename_tmpl.") from error
        if not self.paths:
            raise ValueError(f"{where}: dataroot_gt must hold images, got none in {opt['dataroot_gt']}")
        self.paths.sort(key=lambda pair: str(pair["gt_path"]))  # folders are listed in no order, and draws must repeat
        self.patch_size = opt["gt_size"] // opt["scale"]
        reader = PairReader(self.paths, self.io_backend_opt)
        self.images = PairImages(reader, opt["scale"], self.patch_size, hes.decoded_mb)
        settings = IndexSettings(self.patch_size, hes.stride, hes.num_classes, hes.thresholds, hes.score)
        self.index = self.images.index(settings, hes.cache, progress=get_dist_info()[0] == 0)
        self._warn_skipped()
        self.thresholds = torch.from_numpy(self.index.routing.copy())
        self._end: int | None = len(self)  # of the draws; None once a training's are planned
        shares = self.hes.shares(self.index.counts)
        self._set_plan(DrawPlan(self.index.difficulty, shares, len(self), len(self), 1.0, hes.seed or 0), hes.seed or 0)

    @classmethod
    def check_options(cls, options: dict[str, Any]) -> None:
        """Parse the options of a training set, for their errors."""
        where = f"datasets:{options['phase']}"
        cls._parse(options, where)
        resident_options(options, where)

    @classmethod
    def _parse(cls, opt: Mapping[str, Any], where: str) -> PatchOptions:
        check_pairs(opt, where)
        return parse_hes(opt.get("hes"), f"{where}:hes")

    def training_sampler(
        self,
        *,
        batches_per_epoch: int,
        batch_size: int,
        total_iterations: int,
        start_iteration: int = 0,
        rank: int = 0,
        world_size: int = 1,
        seed: int | None = None,
    ) -> DrawSampler:
        """Plan the draws of a whole training, and return the sampler of one rank. Call it before workers start.

        Args:
            batches_per_epoch: full batches of each rank in one epoch, at least 1.
            batch_size: of each rank.
            total_iterations: of the whole training; fixes where the stage changes.
            start_iteration: iterations done before, when a training resumes.
            rank: this process, in 0..world_size-1.
            world_size: number of processes.
            seed: of the draws, the same on all ranks, unless the `hes` block sets one; None is 0.

        Raises:
            ValueError: a number out of its range.
        """
        course = Course(batches_per_epoch, batch_size, total_iterations, start_iteration, rank, world_size)
        seed = self.hes.seed if self.hes.seed is not None else (seed or 0)
        plan = self._plan(course, seed)
        self._set_plan(plan, seed)
        self._end = None
        return DrawSampler(plan, course)

    def training_loader(self, sampler: DrawSampler, batch_size: int, device: torch.device) -> ResidentLoader | None:
        """Batches of whole images that stay in memory (`resident`), or None where workers are to read and decode them.

        Args:
            sampler: what `training_sampler` returned.
            batch_size: of this rank.
            device: the one that trains.

        Raises:
            ValueError: too little memory, `cuda` on a CPU, an image that is damaged or has shrunk, or sizes that do
                not match the scale.
            FileNotFoundError: an image is gone.
        """
        convert = _luma if self.opt.get("color") == "y" else None
        first = get_dist_info()[0] == 0
        filling = Filling(self.images, self.index, f"datasets:{self.opt['phase']}", device, convert, progress=first)
        resident = filling.fill(self.resident)
        if resident is None:
            return None
        normalize = None
        if self.mean is not None or self.std is not None:
            mean, std = (torch.tensor(values, dtype=torch.float32, device=device) for values in (self.mean, self.std))
            normalize = Normalization(mean, std)
        batches = Batches(resident, self._crops, self.paths, self.thresholds, self.patch_size, device, normalize)
        return ResidentLoader(self, sampler, batch_size, batches)

    def _plan(self, course: Course, seed: int) -> Plan:
        """Which candidate each draw of a training takes."""
        shares, level = self.hes.shares(self.index.counts), self.hes.sample_level
        return DrawPlan(self.index.difficulty, shares, course.epoch_draws, course.total_draws, level, seed)

    def _set_plan(self, plan: Plan, seed: int) -> None:
        self._crops = CropPlan(self.index, plan, seed, self.opt["use_hflip"], self.opt["use_rot"])

    def __len__(self) -> int:
        """Number of image pairs, so that an epoch keeps BasicSR's meaning."""
        return len(self.paths)

    def crops(self, ts: ArrayLike) -> Crops:
        """The crops of draws (n,), without their pixels: for whoever holds those elsewhere."""
        return self._crops.crops(ts)

    def __getitem__(self, draw: int | Draw) -> dict[str, Any]:
        """Draw number t >= 0 of the training; from its sampler with the candidate that it takes.

        Returns:
            `lq` float32 (C, h, w) RGB and `gt` (C, scale·h, scale·w), range 0-1 before `mean` and `std`; `lq_path`,
            `gt_path`; `difficulty`, the class 1..K; `thresholds`, float32 (K-1,), of the RMS gradient magnitude.

        Raises:
            IndexError: a negative number, or without `training_sampler` one beyond the set.
            ValueError: the image is damaged, or the sizes do not match the scale.
            FileNotFoundError: the image is gone.
        """
        t, candidate = draw if isinstance(draw, Draw) else (draw, self._candidate(draw))
        crop = self._crops.crop(t, candidate)
        lr, hr = self.images.fetch(crop)
        if self.opt.get("color") == "y":
            lr, hr = (_as_luma(image) for image in (lr, hr))
        lq, gt = img2tensor([lr, hr], bgr2rgb=True, float32=True)
        if self.mean is not None or self.std is not None:
            normalize(lq, self.mean, self.std, inplace=True)
            normalize(gt, self.mean, self.std, inplace=True)
        return {
            "lq": lq,
            "gt": gt,
            "lq_path": self.paths[crop.image]["lq_path"],
            "gt_path": self.paths[crop.image]["gt_path"],
            "difficulty": int(self.index.difficulty[candidate]),
            "thresholds": self.thresholds,
        }

    def _candidate(self, t: int) -> int:
        if t < 0 or (self._end is not None and t >= self._end):
            raise IndexError(f"a draw must be in 0..{len(self) - 1} before training_sampler is called, got {t}")
        return self._crops.plan.patch(t)

    def _warn_skipped(self) -> None:
        skipped = self.index.skipped
        if len(skipped) > 0:
            names = ", ".join(self.images.reader.name(int(number), "lq") for number in skipped[:_NAMED])
            get_root_logger().warning(
                f"{len(skipped)} of {len(self)} LR images are smaller than the patch of {self.patch_size} pixels and "
                f"are skipped: {names}{', ...' if len(skipped) > _NAMED else ''}"
            )


def _as_luma(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The luma (H, W, 1) of an image (H, W, 3), BGR, range 0-1."""
    luma: NDArray[np.float32] = bgr2ycbcr(image, y_only=True)[..., None]
    return luma


def _luma(pixels: Pixels) -> NDArray[np.float32]:
    return _as_luma(to_float(pixels))
