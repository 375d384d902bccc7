"""Samples per second of BasicSR's `PairedImageDataset` and of `HESPairedImageDataset`, on the same files in one run.

    python benchmarks/data_loading.py --data DIR [--workers 1 2] [--rounds 5]

DIR holds HR images; sub-images of 480 pixels at x4 are prepared from (some of) them, as a folder and as an LMDB. The
loaders take turns, a round each; the first round warms up. Reported are medians over the rounds, and the median ratio
to `PairedImageDataset` in the same round. `decoded_mb` is the memory in which HES may keep decoded images; with
`resident: cpu` all of them stay in memory, and this process alone cuts the batches. The others have at least one
worker, since an LMDB can be open only once in a process.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from wbsr_base.basicsr import EnlargedSampler, PairedImageDataset
from wbsr_data.hes.dataset import HESPairedImageDataset
from wbsr_data.preparation import prepare
from wbsr_data.preparation.recipe import HR, Recipe, lr_name
from wbsr_data.preparation.target import Target
from wbsr_data.sources import find_sources

SCALE, BATCH = 4, 16
LOADERS = ("PairedImageDataset", "HES, decoded_mb 0", "HES, decoded_mb 512", "HES, resident: cpu, no worker")


def main() -> None:
    """Prepare the files in a temporary folder, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--images", type=int, default=24, help="HR images to use, evenly spread (default 24)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=30, help="of 16 samples, in a round (default 30)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        some = folder / "some"
        some.mkdir()
        sources = find_sources(arguments.data)
        for source in sources[:: max(1, len(sources) // arguments.images)][: arguments.images]:
            (some / f"{source.key}{source.path.suffix}").symlink_to(source.path.resolve())
        recipe = Recipe((SCALE,), sub_images=480, step=240)
        sys.stdout.write("| files | workers | loader | samples/s | ratio |\n|---|---|---|---|---|\n")
        for lmdb in (False, True):
            target = Target(folder / f"lmdb_{lmdb}", lmdb)
            prepare(some, target, recipe)
            for workers in arguments.workers:
                speeds = measure(target, workers, arguments.rounds, arguments.batches)
                for loader, values in zip(LOADERS, speeds, strict=True):
                    ratios = [value / base for value, base in zip(values, speeds[0], strict=True)]
                    sys.stdout.write(
                        f"| {'LMDB' if lmdb else 'folder'} | {workers} | {loader} | {statistics.median(values):.0f} "
                        f"| {statistics.median(ratios):.2f} |\n"
                    )
                    sys.stdout.flush()


def measure(target: Target, workers: int, rounds: int, batches: int) -> list[list[float]]:
    """Samples per second of each of `LOADERS` in each round but the first."""
    speeds: list[list[float]] = [[] for _ in LOADERS]
    streams = [
        stock(target, workers),
        *(hes(target, workers, decoded_mb=megabytes) for megabytes in (0, 512)),
        hes(target, 0, resident="cpu"),
    ]
    for number in range(rounds + 1):
        for place, stream in enumerate(streams):
            start = time.perf_counter()
            for _ in itertools.islice(stream, batches):
                pass
            if number > 0:
                speeds[place].append(BATCH * batches / (time.perf_counter() - start))
    return speeds


def stock(target: Target, workers: int) -> Iterator[Any]:
    """BasicSR's data set with BasicSR's sampler."""
    dataset = PairedImageDataset(options(target))
    return endless(dataset, EnlargedSampler(dataset, 1, 0, ratio=100), workers)


def hes(target: Target, workers: int, decoded_mb: int = 0, resident: str | bool = False) -> Iterator[Any]:
    """Our data set in its class-level stage."""
    block = {"decoded_mb": decoded_mb, "sample_level": 0.0, "cache": False}
    dataset = HESPairedImageDataset(options(target) | {"hes": block, "resident": resident})
    per_epoch = 100 * len(dataset) // BATCH
    sampler = dataset.training_sampler(batches_per_epoch=per_epoch, batch_size=BATCH, total_iterations=per_epoch)
    loader = dataset.training_loader(sampler, BATCH, torch.device("cpu"))
    return endless(dataset, sampler, workers) if loader is None else epochs(loader, sampler)


def endless(dataset: Any, sampler: Any, workers: int) -> Iterator[Any]:
    """Batches, one epoch after the other."""
    loader = DataLoader(
        dataset, BATCH, sampler=sampler, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    yield from epochs(loader, sampler)


def epochs(loader: Any, sampler: Any) -> Iterator[Any]:
    """Batches of a loader, one epoch after the other, with their patches."""
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        for batch in loader:
            yield batch["lq"], batch["gt"]  # some are cut when they are read


def options(target: Target) -> dict[str, Any]:
    """Options of a training set over what was prepared."""
    return {
        "name": "benchmark",
        "phase": "train",
        "scale": SCALE,
        "dataroot_gt": str(target.path(HR)),
        "dataroot_lq": str(target.path(lr_name(SCALE))),
        "io_backend": {"type": "lmdb" if target.lmdb else "disk"},
        "gt_size": 128,
        "use_hflip": True,
        "use_rot": True,
    }


if __name__ == "__main__":
    main()
