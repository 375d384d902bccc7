"""All images of a training set decoded into the memory of a GPU or of the host, where they fit."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wbsr_base.pixels.images import Pixels as Decoded
from wbsr_data.pair_images import PairImages
from wbsr_data.patch_index import PatchIndex
from wbsr_data.resident_options import ResidentOptions
from wbsr_data.resident_pixels import DeepError, Image, Pixels

_logger = logging.getLogger("basicsr.wbsr_data")  # reaches the log file where BasicSR runs
_MEGABYTE = 1_000_000

Convert = Callable[[Decoded], Image]
T = TypeVar("T")


@dataclass(frozen=True)
class Resident:
    """All pairs of a training set."""

    lr: Pixels
    hr: Pixels


@dataclass(frozen=True)
class Filling:
    """How images become resident.

    Args:
        images: the pairs.
        index: their candidates, which must lie within them.
        where: the set's place in the option file, for errors and the log.
        device: the one that trains.
        convert: what is made of each image, float32 of one channel; None keeps its pixels.
        progress: show progress bars.
    """

    images: PairImages
    index: PatchIndex
    where: str
    device: torch.device
    convert: Convert | None = None
    progress: bool = True

    def fill(self, options: ResidentOptions) -> Resident | None:
        """Decode all images to where the options say.

        Returns:
            The images; None where the options want none, or `auto` finds too little memory.

        Raises:
            ValueError: too little memory, `cuda` on a CPU, an image that is damaged or has shrunk, or sizes that do
                not match the scale.
            FileNotFoundError: an image is gone.
        """
        places = self._places(options)
        if not places:
            return None
        try:
            return self._filled(places, options)
        finally:
            self.images.reader.close()

    def _filled(self, places: Sequence[torch.device], options: ResidentOptions) -> Resident | None:
        started = time.perf_counter()
        small = self._each(lambda number: self.images.decode(number, "lq"), "Decoding LR images")
        shapes = np.array([image.shape[:2] for image in small], dtype=np.int64)
        self._check_candidates(shapes)
        deep = any(image.dtype == np.uint16 for image in small)
        found = None
        for kind in ["float32"] if self.convert else ["uint16"] if deep else ["uint8", "uint16"]:
            size = self._bytes(shapes, kind)
            place = next((place for place in places if self._fits(size, place, options)), None)
            if place is None:
                _logger.info("%s: workers decode the images; resident_mb sets another bound.", self.where)
                return None
            try:
                found = self._decoded(small, shapes, kind, place)
            except DeepError:  # an HR image has 16 bits
                continue
            seconds = time.perf_counter() - started
            taken = f"{len(small)} pairs of images, {size / _MEGABYTE:,.1f} MB, decoded in {seconds:.1f} s"
            _logger.info("%s: %s, stay on %s.", self.where, taken, place)
            break
        return found

    def _places(self, options: ResidentOptions) -> list[torch.device]:
        """Where they may lie, the best first."""
        host = torch.device("cpu")
        if options.resident == "cuda" and self.device.type != "cuda":
            raise ValueError(
                f"{self.where}:resident is cuda, but the training runs on the {self.device.type}: set num_gpu: auto, "
                "or write auto, cpu or false"
            )
        if options.resident == "cpu":
            return [host]
        if not options.resident or self.device.type != "cuda":
            return []
        # Of several processes on a machine each would fill the host's memory.
        alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
        return [self.device, host] if options.resident == "auto" and alone else [self.device]

    def _decoded(self, small: Sequence[Decoded], shapes: NDArray[np.int64], kind: str, place: torch.device) -> Resident:
        channels, scale = 1 if self.convert else 3, self.images.scale
        lr, hr = (Pixels(times * shapes, kind, channels, times, place, self.device) for times in (1, scale))
        convert = self.convert or _as_it_is
        for number, image in enumerate(small):
            lr.put(number, convert(image))

        def put(number: int) -> None:
            hr.put(number, convert(self.images.decode_hr(number, tuple(shapes[number].tolist()))))

        self._each(put, "Decoding HR images")
        return Resident(lr, hr)

    def _each(self, work: Callable[[int], T], what: str) -> list[T]:
        """`work` of each pair, on all cores; decoding leaves Python's lock alone."""
        count = len(self.images.reader)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                done = pool.map(work, range(count))
                return list(tqdm(done, total=count, desc=what, unit="image", disable=not self.progress))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _check_candidates(self, shapes: NDArray[np.int64]) -> None:
        index, size = self.index, self.images.patch_size
        heights, widths = shapes[index.image].T
        beyond = np.flatnonzero((index.y + size > heights) | (index.x + size > widths))
        for number in beyond[:1].tolist():
            image = int(index.image[number])
            self.images.check_crop(image, int(index.y[number]), int(index.x[number]), tuple(shapes[image].tolist()))

    def _bytes(self, shapes: NDArray[np.int64], kind: str) -> int:
        channels = 1 if self.convert else 3
        return channels * np.dtype(kind).itemsize * int(shapes.prod(1).sum()) * (1 + self.images.scale**2)

    def _fits(self, size: int, place: torch.device, options: ResidentOptions) -> bool:
        free = free_bytes(place)
        bound, why = (size if free is None else free // 2), f"half of what is free on {place}"
        remedy = "raise resident_mb"
        if options.resident_mb is not None:
            bound, why = options.resident_mb * _MEGABYTE, "resident_mb"
            if free is not None and free < bound:
                bound, why, remedy = free, f"what is free on {place}", "free memory"
        if size <= bound:
            return True
        taken = f"the decoded images take {size / _MEGABYTE:,.1f} MB, more than the {bound / _MEGABYTE:,.1f} of {why}"
        if options.resident == "auto":
            _logger.info("%s: %s.", self.where, taken)
            return False
        others = "false for workers that decode them" if place.type == "cpu" else "cpu, or false"
        raise ValueError(f"{self.where}:resident is {options.resident}, but {taken}: {remedy}, or write {others}")


def free_bytes(place: torch.device) -> int | None:
    """Memory that is free on a device, what the system holds ready for files included; None where nobody can say."""
    if place.type == "cuda":
        return int(torch.cuda.mem_get_info(place)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None


def _as_it_is(image: Decoded) -> Image:
    return image
