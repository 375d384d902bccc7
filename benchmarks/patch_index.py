"""How long the index of all candidate patches takes: 800 pairs of DIV2K's size (LR x4: 510 x 340), and its cache.

    python benchmarks/patch_index.py [--images 800] [--stride 8] [--repeats 3]

Pairs are made of scikit-image's photographs, 25 different ones under 800 names (hard links), so files are in the page
cache. Reported are the medians of a first start, which scores all patches, and of a second one, which loads them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wbsr_base.pixels.bicubic import resize
from wbsr_data.hes.dataset import HESPairedImageDataset
from wbsr_data.patch_index import PatchIndex

SCALE, HEIGHT, WIDTH = 4, 1360, 2040  # HR
DIFFERENT = 25


def main() -> None:
    """Make the pairs in a temporary folder, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pairs(folder, arguments.images)
        first: list[float] = []
        second: list[float] = []
        for number in range(arguments.repeats):
            options = training_set(folder, {"stride": arguments.stride, "cache": str(folder / f"cache{number}")})
            for seconds in (first, second):
                start = time.perf_counter()
                dataset = HESPairedImageDataset(options)
                seconds.append(time.perf_counter() - start)
        index = dataset.index
        columns = [getattr(index, field.name) for field in dataclasses.fields(PatchIndex)]
        size = sum(column.nbytes for column in columns if len(column) == len(index)) / len(index)
    sys.stdout.write(
        f"{arguments.images} pairs, LR {WIDTH // SCALE} x {HEIGHT // SCALE}, patch {dataset.patch_size}, stride "
        f"{arguments.stride}: {len(index)} candidates of {size:.0f} bytes, {os.cpu_count()} cores\n"
        f"first start {statistics.median(first):.2f} s, from the cache {statistics.median(second):.2f} s\n"
    )


def training_set(folder: Path, hes: dict[str, object]) -> dict[str, object]:
    """Options of a training set over `folder`."""
    return {
        "name": "benchmark",
        "phase": "train",
        "scale": SCALE,
        "dataroot_gt": str(folder / "HR"),
        "dataroot_lq": str(folder / "LR"),
        "io_backend": {"type": "disk"},
        "gt_size": 128,
        "use_hflip": True,
        "use_rot": True,
        "hes": hes,
    }


def make_pairs(folder: Path, count: int) -> None:
    """Write `count` pairs, of which `DIFFERENT` differ."""
    photos = photographs()
    rng = np.random.default_rng(0)
    for name in ("HR", "LR"):
        (folder / name).mkdir()
    for number in range(count):
        paths = [folder / name / f"{number:04}.png" for name in ("HR", "LR")]
        if number >= DIFFERENT:
            for path in paths:
                os.link(path.with_name(f"{number % DIFFERENT:04}.png"), path)
            continue
        hr = mosaic(photos, rng)
        for path, pixels in zip(paths, (hr, resize(hr, 1 / SCALE)), strict=True):
            cv2.imwrite(str(path), pixels)


def photographs() -> list[NDArray[np.uint8]]:
    """The colour photographs in scikit-image's wheel."""
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    names = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg")
    return [np.asarray(cv2.imread(str(folder / name)), dtype=np.uint8) for name in names]


def mosaic(photos: list[NDArray[np.uint8]], rng: np.random.Generator) -> NDArray[np.uint8]:
    """An HR image put together from random parts of the photographs, with their own sharpness."""
    canvas = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    side = 300
    for row in range(0, HEIGHT, side):
        for col in range(0, WIDTH, side):
            part = canvas[row : row + side, col : col + side]
            photo = photos[rng.integers(len(photos))]
            y, x = (
                int(rng.integers(whole - wanted + 1))
                for whole, wanted in zip(photo.shape, part.shape[:2], strict=False)
            )
            part[:] = photo[y : y + part.shape[0], x : x + part.shape[1]]
    return canvas


if __name__ == "__main__":
    main()
