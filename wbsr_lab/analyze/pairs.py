"""The pairs that are analysed: a folder of HR images, whose LR images are made in memory, or a training set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from wbsr_base.pixels.bicubic import Bytes, crop_to_multiple, resize, to_8_bits
from wbsr_base.pixels.images import Pixels, decode_pixels
from wbsr_data.hes.dataset import HESPairedImageDataset
from wbsr_data.hes.options import HESOptions, parse_hes
from wbsr_data.patch_index import IndexSettings, PatchIndex
from wbsr_data.sources import Source, find_sources
from wbsr_data.workers import in_workers

_logger = logging.getLogger("basicsr.wbsr")


class Pairs(Protocol):
    """Pairs and their patch index.

    `names`: of the pairs; `skipped`: the reason by name of images that can't be used; `hr_root`: the folder or LMDB of
    the HR images, of which `hr_names` (None: all) can be read.
    """

    names: list[str]
    skipped: dict[str, str]
    hr_root: Path
    hr_names: list[str] | None
    scale: int
    patch_size: int
    hes: HESOptions
    index: PatchIndex

    def load(self, number: int) -> tuple[Pixels, Pixels]:
        """The LR and the HR image of a pair, (H, W, 3) BGR."""
        ...


class FolderPairs:
    """Pairs made of a folder of HR images by bicubic; what can't be read is skipped.

    Args:
        hr: the folder.
        scale: of the LR images.
        patch_size: LR pixels.
        hes: how candidates are found and sorted in classes.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: no image can be used, all are smaller than a patch, or what `PatchIndex.build` raises.
    """

    def __init__(self, hr: Path, scale: int, patch_size: int, hes: HESOptions) -> None:
        self.hr_root, self.scale, self.patch_size, self.hes = hr, scale, patch_size, hes
        sources = find_sources(hr)
        shrunk = tqdm(in_workers(_Shrink(sources, scale)), total=len(sources), desc="Making LR images", unit="image")
        made = list(shrunk)
        self.skipped = {source.name: each for source, each in zip(sources, made, strict=True) if isinstance(each, str)}
        self._sources = [source for source in sources if source.name not in self.skipped]
        self._lr = [each for each in made if not isinstance(each, str)]
        for reason in self.skipped.values():
            _logger.warning("skipped: %s", reason)
        if not self._lr:
            raise ValueError(f"none of the {len(sources)} images in {hr} can be used: {made[0]}")
        if all(min(lr.shape[:2]) < patch_size for lr in self._lr):
            raise ValueError(
                f"an LR image must be at least {patch_size} pixels (--patch) high and wide, got {len(self._lr)} images "
                "that are all smaller: lower --patch, or --scale"
            )
        self.names = [source.name for source in self._sources]
        self.hr_names: list[str] | None = self.names
        settings = IndexSettings(patch_size, hes.stride, hes.num_classes, hes.thresholds)
        self.index = PatchIndex.build(lambda number: self._lr[number], self.names, settings)

    def load(self, number: int) -> tuple[Pixels, Pixels]:
        source = self._sources[number]
        hr = to_8_bits(decode_pixels(source.path.read_bytes(), str(source.path)))
        return self._lr[number], crop_to_multiple(hr, self.scale)


class DatasetPairs:
    """The pairs of a training set, as its options describe it.

    Args:
        block: `datasets:train` of an option file, for `HESPairedImageDataset` or `PairedImageDataset`.
        scale: of the option file.

    Raises:
        ValueError, TypeError, FileNotFoundError: as `HESPairedImageDataset`; or a set whose draws follow its training.
    """

    def __init__(self, block: dict[str, Any], scale: int) -> None:
        if block.get("type") == "DDAPairedImageDataset":
            raise ValueError(
                "datasets:train: how often a DDAPairedImageDataset draws each class follows its training, so there is "
                "nothing to show before: set type: HESPairedImageDataset"
            )
        dataset = HESPairedImageDataset({**block, "phase": "train", "scale": scale})
        self.names: list[str] = [pair["gt_path"] for pair in dataset.paths]
        self.skipped: dict[str, str] = {}
        self.hr_root = Path(block["dataroot_gt"])
        self.hr_names: list[str] | None = None
        self.scale, self.patch_size = scale, dataset.patch_size
        self.hes, self.index = parse_hes(block.get("hes"), "datasets:train:hes"), dataset.index
        self._images = dataset.images

    def load(self, number: int) -> tuple[Pixels, Pixels]:
        return self._images.load(number)


@dataclass(frozen=True)
class _Shrink:
    """The LR image of each HR image, or why there is none."""

    sources: Sequence[Source]
    scale: int

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int) -> Bytes | str:
        source = self.sources[number]
        try:
            hr = crop_to_multiple(to_8_bits(decode_pixels(source.path.read_bytes(), str(source.path))), self.scale)
        except ValueError as error:
            return str(error)
        except OSError as error:
            return f"{source.path} can't be read ({error.strerror})"
        if hr.size == 0:
            return f"{source.path} must have at least {self.scale} pixels in height and width"
        return np.ascontiguousarray(resize(hr, 1 / self.scale))
