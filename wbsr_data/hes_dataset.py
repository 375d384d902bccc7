"""`HESPairedImageDataset`: BasicSR's paired training set, with patches drawn by hierarchical equalization sampling.

It takes every option of `PairedImageDataset` plus the block `hes` (`HESOptions`). At start it scores all candidate
crops of the LR images (cached on disk), and finds bad pairs then, not in the middle of a training.

`dataset[t]` is draw number t of the training. Crop and flips depend on t and the seed alone, never on the worker. The
training loop gets its sampler from `training_sampler`; `wbsr_base.hooks` asks for it where BasicSR builds its own.
Without it, the set has len(dataset) draws, all of the sample-level stage and the same in every epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.functional import normalize

from wbsr_base.basicsr import (
    DATASET_REGISTRY,
    PairedImageDataset,
    bgr2ycbcr,
    get_dist_info,
    get_root_logger,
    img2tensor,
)
from wbsr_base.images import Pixels, check_image, decode_pixels, to_float
from wbsr_data.class_losses import ClassLosses, FollowingPlan
from wbsr_data.draws import DrawPlan
from wbsr_data.hes_options import check_pairs, check_refresh, parse_hes
from wbsr_data.image_cache import ImageCache
from wbsr_data.index_cache import DEFAULT_FOLDER, cache_key, cached_index
from wbsr_data.loss_meter import attach
from wbsr_data.patch_index import IndexSettings, PatchIndex
from wbsr_data.reader import PairReader, Side
from wbsr_data.sampler import Draw, DrawSampler, PlannedSampler
from wbsr_data.samplings import SAMPLINGS

_NAMED = 5  # images that a warning names

Image = NDArray[np.float32]


@DATASET_REGISTRY.register()  # type: ignore[untyped-decorator]
class HESPairedImageDataset(PairedImageDataset):
    """LR/HR patches drawn by difficulty; see the top of this file.

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
        check_pairs(opt, where)
        self.hes = parse_hes(opt.get("hes"), f"{where}:hes")
        check_refresh(self.hes, opt, where)
        try:
            super().__init__(opt)
        except AssertionError as error:
            raise ValueError(f"{where}: {error} Every HR image needs its LR image; see filename_tmpl.") from error
        if not self.paths:
            raise ValueError(f"{where}: dataroot_gt must hold images, got none in {opt['dataroot_gt']}")
        self.paths.sort(key=lambda pair: str(pair["gt_path"]))  # folders are listed in no order, and draws must repeat
        self.patch_size = opt["gt_size"] // opt["scale"]
        self._reader = PairReader(self.paths, self.io_backend_opt)
        self.index = self._load_index()
        self._warn_skipped()
        self.thresholds = torch.from_numpy(self.index.routing.copy())
        self.probabilities = SAMPLINGS[self.hes.sampling].shares(self.index.counts, self.hes)
        self._decoded = ImageCache(2 * len(self), self.hes.decoded_mb)
        self._seed = self.hes.seed or 0
        self._plan: DrawPlan | FollowingPlan | None = None
        self._default_plan = self._make_plan(len(self), len(self), 1.0)

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
        if batches_per_epoch < 1 or batch_size < 1:
            raise ValueError(
                f"an epoch must have at least one full batch, got {batches_per_epoch} batches of {batch_size}: "
                "lower batch_size_per_gpu or raise dataset_enlarge_ratio"
            )
        step = batch_size * world_size
        self._seed = self.hes.seed if self.hes.seed is not None else (seed or 0)
        follow, total, refresh = SAMPLINGS[self.hes.sampling].follow, total_iterations * step, self.hes.refresh
        place = (batches_per_epoch * step, start_iteration * step, rank, world_size)
        if follow is None:
            self._plan = self._make_plan(batches_per_epoch * step, total, self.hes.sample_level)
            return DrawSampler(*place)
        self._plan = FollowingPlan(
            partial(self._make_plan, refresh * step, total, self.hes.sample_level),
            partial(follow, self.index.counts, self.hes),
            ClassLosses(self.index.num_classes, refresh, start_iteration // refresh),
            refresh * step,
        )
        return PlannedSampler(self._plan, *place)

    def follow(self, model: Any) -> None:
        """Let the draws of `training_sampler` follow the losses of a model, if the sampling does so.

        Raises:
            ValueError: the model's losses can't be measured.
        """
        if isinstance(self._plan, FollowingPlan):
            attach(model, self._plan.losses)

    def __len__(self) -> int:
        """Number of image pairs, so that an epoch keeps BasicSR's meaning."""
        return len(self.paths)

    def __getitem__(self, draw: int | Draw) -> dict[str, Any]:
        """Draw number t >= 0 of the training; from a sampler that has planned it with the patch that it takes.

        Returns:
            `lq` float32 (C, h, w) RGB and `gt` (C, scale·h, scale·w), range 0-1 before `mean` and `std`; `lq_path`,
            `gt_path`; `difficulty`, the class 1..K; `thresholds`, float32 (K-1,), of the RMS gradient magnitude.

        Raises:
            IndexError: a negative number, or without `training_sampler` one beyond the set.
            ValueError: the image is damaged, or the sizes do not match the scale.
            FileNotFoundError: the image is gone.
        """
        t, candidate = draw if isinstance(draw, Draw) else (draw, self._patch(draw))
        number = int(self.index.image[candidate])
        lr, hr = self._crop(number, int(self.index.y[candidate]), int(self.index.x[candidate]))
        lr, hr = self._flip(t, lr, hr)
        if self.opt.get("color") == "y":
            lr, hr = (bgr2ycbcr(image, y_only=True)[..., None] for image in (lr, hr))
        lq, gt = img2tensor([lr, hr], bgr2rgb=True, float32=True)
        if self.mean is not None or self.std is not None:
            normalize(lq, self.mean, self.std, inplace=True)
            normalize(gt, self.mean, self.std, inplace=True)
        return {
            "lq": lq,
            "gt": gt,
            "lq_path": self.paths[number]["lq_path"],
            "gt_path": self.paths[number]["gt_path"],
            "difficulty": int(self.index.difficulty[candidate]),
            "thresholds": self.thresholds,
        }

    def _patch(self, t: int) -> int:
        if t < 0 or (self._plan is None and t >= len(self)):
            raise IndexError(f"a draw must be in 0..{len(self) - 1} before training_sampler is called, got {t}")
        return (self._plan or self._default_plan).patch(t)

    def load_pair(self, number: int) -> tuple[Pixels, Pixels]:
        """The whole LR and HR image of pair `number`, uint8 or uint16 (H, W, 3) BGR; not to be written to.

        Raises:
            ValueError, FileNotFoundError: as for a draw.
        """
        slots = (2 * number, 2 * number + 1)
        lr, hr = (self._decoded.get(slot) for slot in slots)
        if lr is None or hr is None:
            lr, hr = self._decode(number, "lq"), self._decode(number, "gt")
            self._check_sizes(number, lr.shape[:2], hr.shape[:2])
            for slot, pixels in zip(slots, (lr, hr), strict=True):
                self._decoded.put(slot, pixels)
        return lr, hr

    def _decode(self, number: int, side: Side) -> Pixels:
        return decode_pixels(self._reader.read(number, side), self._reader.name(number, side))

    def _crop(self, number: int, y: int, x: int) -> tuple[Image, Image]:
        scale, size = self.opt["scale"], self.patch_size
        lr, hr = self.load_pair(number)
        if y + size > lr.shape[0] or x + size > lr.shape[1]:
            raise ValueError(
                f"{self._reader.name(number, 'lq')} has shrunk since it was indexed: start the training again"
            )
        lr = lr[y : y + size, x : x + size]
        hr = hr[scale * y : scale * (y + size), scale * x : scale * (x + size)]
        return to_float(lr), to_float(hr)

    def _flip(self, t: int, *images: Image) -> tuple[Image, ...]:
        """BasicSR's augmentation (two flips and a transpose), from a generator of this draw."""
        chance = np.random.default_rng((self._seed, t)).random(3) < 0.5
        if self.opt["use_hflip"] and chance[0]:
            images = tuple(image[:, ::-1] for image in images)
        if self.opt["use_rot"] and chance[1]:
            images = tuple(image[::-1] for image in images)
        if self.opt["use_rot"] and chance[2]:
            images = tuple(image.transpose(1, 0, 2) for image in images)
        return tuple(np.ascontiguousarray(image) for image in images)

    def _make_plan(
        self, epoch_draws: int, total_draws: int, sample_level: float, shares: NDArray[np.float64] | None = None
    ) -> DrawPlan:
        return DrawPlan(
            self.index.difficulty,
            self.probabilities if shares is None else shares,
            epoch_draws,
            total_draws,
            sample_level,
            self._seed,
            self.hes.stage,
        )

    def _load_index(self) -> PatchIndex:
        hes = self.hes
        settings = IndexSettings(self.patch_size, hes.stride, hes.num_classes, hes.thresholds, hes.score)
        names = [self._reader.name(number, "lq") for number in range(len(self))]
        rank, _ = get_dist_info()

        def build() -> PatchIndex:
            return PatchIndex.build(
                self._load_lr, names, settings, rank == 0, lambda number: self._decode(number, "gt")
            )

        try:
            stamps = self._reader.stamps()
            if self.hes.cache is False:
                return build()
            folder = DEFAULT_FOLDER if self.hes.cache is True else self.hes.cache
            return cached_index(folder, cache_key(settings, [*stamps, ("scale", self.opt["scale"], 0)], names), build)
        finally:
            self._reader.close()

    def _load_lr(self, number: int) -> Pixels:
        """An LR image, once its HR image is known to fit."""
        lr = self._decode(number, "lq")
        self._check_sizes(
            number, lr.shape[:2], check_image(self._reader.read(number, "gt"), self._reader.name(number, "gt"))
        )
        return lr

    def _check_sizes(self, number: int, lr: tuple[int, ...], hr: tuple[int, ...]) -> None:
        scale = self.opt["scale"]
        if (lr[0] * scale, lr[1] * scale) != tuple(hr):
            raise ValueError(
                f"an HR image must be {scale} times its LR image, got {hr[0]} x {hr[1]} for "
                f"{self._reader.name(number, 'gt')} and {lr[0]} x {lr[1]} for {self._reader.name(number, 'lq')}: "
                "prepare the pair again"
            )

    def _warn_skipped(self) -> None:
        skipped = self.index.skipped
        if len(skipped) > 0:
            names = ", ".join(self._reader.name(int(number), "lq") for number in skipped[:_NAMED])
            get_root_logger().warning(
                f"{len(skipped)} of {len(self)} LR images are smaller than the patch of {self.patch_size} pixels and "
                f"are skipped: {names}{', ...' if len(skipped) > _NAMED else ''}"
            )
