"""Upscales pictures one by one: what goes wrong with one of them is noted, and the others go on."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from wbsr.upscale.jobs import Job
from wbsr.upscale.overlays import comparison, patches_by_subnet, score_overlay, subnet_overlay
from wbsr.upscale.picture import from_tensor, to_tensor
from wbsr.upscale.writing import check_target, write_picture
from wbsr_arch.cost import REFERENCE_PATCH
from wbsr_base.files import write_whole
from wbsr_base.pixels.picture import Picture
from wbsr_base.pixels.reading import read_picture
from wbsr_models.inference.report import Report
from wbsr_models.inference.upscaler import DynamicUpscaler

MAPS = ("subnets", "scores")
COMPARISON = "compare"

_EXPECTED = (ValueError, OSError, MemoryError, torch.cuda.OutOfMemoryError)
_WRITERS = 2  # threads, and pictures that wait for one: each holds its result in memory


@dataclass(frozen=True)
class Extras:
    """What is written beside a result: `maps` of subnets and scores, and a `compare` picture beside bicubic."""

    maps: bool = False
    compare: bool = False
    overwrite: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        return (MAPS if self.maps else ()) + ((COMPARISON,) if self.compare else ())


@dataclass
class Outcome:
    """What became of all pictures: report entries of those done, and the reasons of those that failed."""

    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def note(self, job: Job, written: Future[dict[str, Any]]) -> None:
        """Wait for one job, and note its entry or why it failed."""
        try:
            self.done.append(written.result())
        except _EXPECTED as error:
            self.failed.append({"input": str(job.source), "error": str(error) or type(error).__name__})

    def save(self, path: Path, settings: dict[str, Any]) -> None:
        """Write the JSON report."""
        content = {"settings": settings, "images": self.done, "failed": self.failed}
        write_whole(path, json.dumps(content, indent=2) + "\n")


def upscale_all(jobs: Sequence[Job], upscaler: DynamicUpscaler, extras: Extras) -> Outcome:
    """Upscale every job's picture; a picture that can't be is noted in the outcome.

    While one is upscaled, those before it are encoded and written: PNG takes as long as a small network.
    """
    outcome = Outcome()
    waiting: deque[tuple[Job, Future[dict[str, Any]]]] = deque()
    with ThreadPoolExecutor(_WRITERS) as writers:
        for job in tqdm(jobs, desc="Upscaling", unit="picture", disable=len(jobs) == 1):
            written: Future[dict[str, Any]] = Future()
            try:
                entry, files = upscale_one(job, upscaler, extras)
                written = writers.submit(_write, entry, files)
            except _EXPECTED as error:
                written.set_exception(error)
            waiting.append((job, written))
            while len(waiting) > _WRITERS:
                outcome.note(*waiting.popleft())
        for job, written in waiting:
            outcome.note(job, written)
    return outcome


def upscale_one(
    job: Job, upscaler: DynamicUpscaler, extras: Extras
) -> tuple[dict[str, Any], list[tuple[Picture, Path]]]:
    """Upscale one picture; returns its entry in the report, and what is to be written where.

    Raises:
        ValueError: it can't be read or written in that format, or something is there already.
        OSError: reading failed.
    """
    if not extras.overwrite:
        for path in (job.target, *map(job.beside, extras.kinds)):
            if path.exists():
                raise ValueError(f"{path} is there already: give --overwrite to replace it")
    picture = read_picture(job.source)
    check_target(picture, job.target)
    lr = to_tensor(picture)
    sr, report = upscaler(lr.to(upscaler.device))
    result = from_tensor(sr, picture)
    del sr
    beside = [(_extra(kind, picture, result, report, upscaler), job.beside(kind)) for kind in extras.kinds]
    return _entry(job, picture, report, upscaler), [(result, job.target), *beside]


def _write(entry: dict[str, Any], files: Sequence[tuple[Picture, Path]]) -> dict[str, Any]:
    """Write one job's pictures, and pass on its entry in the report."""
    for picture, path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(picture, path)
    return entry


def _entry(job: Job, picture: Picture, report: Report, upscaler: DynamicUpscaler) -> dict[str, Any]:
    """One picture in the JSON report. FLOPs are 2 x multiply-accumulates of the whole image."""
    supernet = upscaler.network
    height, width = picture.size
    dense = supernet.flops[supernet.full] * height * width / REFERENCE_PATCH**2
    return {
        "input": str(job.source),
        "output": str(job.target),
        "input_size": [width, height],
        "output_size": [width * supernet.scale, height * supernet.scale],
        "patches": patches_by_subnet(report, supernet.subnets),
        "cost_share": report.cost_share,
        "flops_share": report.flops_share,
        "flops_share_run": report.flops_share_run,
        "router_share": report.router_share,
        "flops_full": dense,
        "flops_run": dense * report.flops_share_run,
        "milliseconds": report.milliseconds,
    }


def _extra(kind: str, picture: Picture, result: Picture, report: Report, upscaler: DynamicUpscaler) -> Picture:
    if kind == COMPARISON:
        return comparison(picture, result, upscaler.network.scale)
    if kind == "subnets":
        return subnet_overlay(result, report, upscaler)
    return score_overlay(picture, result, upscaler)
