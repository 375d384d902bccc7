"""Upscales pictures one by one: what goes wrong with one of them is noted, and the others go on."""

from __future__ import annotations

import functools
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from wbsr.upscale.ferry import Ferry, Passenger
from wbsr.upscale.jobs import COMPARISON, SUBNETS, Job
from wbsr.upscale.overlays import comparison, patches_by_subnet, score_overlay, subnet_overlay
from wbsr.upscale.picture import from_tensor, to_tensor
from wbsr.upscale.transparency import with_filled_colours
from wbsr.upscale.wrapping import Wrap, continued, cut_back, margins, own_patches
from wbsr.upscale.writing import check_target, write_picture
from wbsr_arch.cost import REFERENCE_PATCH
from wbsr_base.errors import is_out_of_memory
from wbsr_base.files import write_whole
from wbsr_base.pixels.picture import Picture
from wbsr_base.pixels.reading import read_picture
from wbsr_models.inference.finite import is_finite
from wbsr_models.inference.report import Report
from wbsr_models.inference.upscaler import DynamicUpscaler

_EXPECTED = (ValueError, OSError, MemoryError, cv2.error, RuntimeError)  # of the last, those alone of memory
_READERS = 2  # threads, and pictures that wait for their turn
_WRITERS = 2  # threads, and pictures that wait for one: each holds its result in memory

Entry = dict[str, Any]  # of one picture in the report
Files = list[tuple[Picture, Path]]
Finished = tuple[Entry, Files]


@dataclass(frozen=True)
class Handling:
    """How all pictures are handled: `overwrite` files that are there; which `frame` of several, from 1, is read; which
    borders `wrap`."""

    overwrite: bool = False
    frame: int | None = None
    wrap: Wrap = "none"


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
            self.failed.append({"input": str(job.source), "error": _reason(job, error)})

    def save(self, report: Path, settings: dict[str, Any]) -> None:
        """Write the JSON report.

        Raises:
            OSError: it can't be written.
        """
        content = {"settings": settings, "images": self.done, "failed": self.failed}
        try:
            write_whole(report, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise OSError(f"--report {report} can't be written ({error.strerror}); the pictures are") from error


def make_folder_of(report: Path) -> None:
    """Make the folder that a report goes to.

    Raises:
        OSError: it can't be made.
    """
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"--report {report}: the folder {report.parent} can't be made ({error.strerror}): name another file"
        ) from error


def _reason(job: Job, error: Exception) -> str:
    """What to tell about an error of one picture; others than those to be expected are raised again."""
    if is_out_of_memory(error):
        return f"{job.source} is too large for the memory: cut it up, or lower --memory"
    if isinstance(error, RuntimeError):
        raise error
    reason = " ".join(str(error).splitlines())  # of OpenCV's there are several
    return reason if str(job.source) in reason else f"{job.source}: {reason}"


def upscale_all(jobs: Sequence[Job], upscaler: DynamicUpscaler, handling: Handling) -> Outcome:
    """Upscale every job's picture; a picture that can't be is noted in the outcome.

    While one is upscaled, those after it are read, and brought to the GPU where networks run there, and those before it
    are encoded and written: PNG takes as long as a small network.
    """
    outcome, ferry = Outcome(), Ferry(upscaler.device)
    waiting: deque[tuple[Job, Future[dict[str, Any]]]] = deque()
    with ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(_WRITERS) as writers:
        taken = _ahead(jobs, lambda job: readers.submit(_take, job, upscaler, handling, ferry))
        for job, read in tqdm(taken, total=len(jobs), desc="Upscaling", unit="picture", disable=len(jobs) == 1):
            written: Future[dict[str, Any]] = Future()
            try:
                finish = upscale_one(read.result(), upscaler, handling, ferry)
                # On a CPU there is nothing to gain by another thread, and a result would wait in float.
                finished = finish if ferry.crosses else functools.partial(_same, *finish())
                written = writers.submit(_write, finished)
            except _EXPECTED as error:
                written.set_exception(error)
            waiting.append((job, written))
            while len(waiting) > _WRITERS:
                outcome.note(*waiting.popleft())
        for job, written in waiting:
            outcome.note(job, written)
    return outcome


def _same(entry: Entry, files: Files) -> tuple[Entry, Files]:
    return entry, files


@dataclass(frozen=True)
class Taken:
    """A picture that was read: `picture` as it is, `whole` as it is run, `lr` on its way to the device."""

    job: Job
    picture: Picture
    whole: Picture
    lr: Passenger


def _take(job: Job, upscaler: DynamicUpscaler, handling: Handling, ferry: Ferry) -> Taken:
    """Read a job's picture, and send it off.

    Raises:
        ValueError: it can't be read or written in that format, or something is there already.
        OSError: reading failed.
    """
    if not handling.overwrite:
        for path in job.outputs:
            if path.exists():
                raise ValueError(f"{path} is there already: give --overwrite to replace it")
    picture, network = read_picture(job.source, handling.frame), upscaler.network
    check_target(picture, job.target, network.scale, job.source)
    whole = with_filled_colours(continued(picture, *margins(handling.wrap, upscaler.patch_size)))
    return Taken(job, picture, whole, ferry.send(to_tensor(whole, network.in_channels)))


def _ahead(jobs: Sequence[Job], submit: Callable[[Job], Future[Taken]]) -> Iterator[tuple[Job, Future[Taken]]]:
    """Each job with its picture, while the next ones are read."""
    reading: deque[tuple[Job, Future[Taken]]] = deque()
    for job in jobs:
        reading.append((job, submit(job)))
        if len(reading) > _READERS:
            yield reading.popleft()
    while reading:
        yield reading.popleft()


def upscale_one(taken: Taken, upscaler: DynamicUpscaler, handling: Handling, ferry: Ferry) -> Callable[[], Finished]:
    """Upscale one picture; returns what brings the result back: the picture's entry in the report, and what is to be
    written where.

    That raises ValueError where the result is not finite: whoever asks has to wait for the device.
    """
    job, picture, whole = taken.job, taken.picture, taken.whole
    sr, report = upscaler(ferry.receive(taken.lr))
    leaving = [ferry.leave(sr)]
    del sr

    def finish() -> Finished:
        sides, scale = margins(handling.wrap, upscaler.patch_size), upscaler.network.scale
        with ferry.home(leaving.pop()) as sr:
            if not is_finite(sr):
                reason = "the network's output is not finite, its weights overflow on it: take others"
                raise ValueError(f"{job.source}: {reason}")
            result = cut_back(from_tensor(sr, whole), *(scale * side for side in sides))
            del sr
            entry = _entry(job, picture, whole, report, upscaler)
            beside = [(_extra(kind, whole, result, report, upscaler, sides), job.beside(kind)) for kind in job.kinds]
        return entry, [(result, job.target), *beside]

    return finish


def _write(finish: Callable[[], Finished]) -> Entry:
    """Finish one job, write its pictures, and pass on its entry in the report."""
    entry, files = finish()
    for picture, path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(picture, path)
    return entry


def _entry(job: Job, picture: Picture, whole: Picture, report: Report, upscaler: DynamicUpscaler) -> dict[str, Any]:
    """One picture in the JSON report. FLOPs are 2 x multiply-accumulates of the whole image that was run, with what it
    was continued by."""
    supernet = upscaler.network
    height, width = picture.size
    dense = supernet.flops[supernet.full] * math.prod(whole.size) / REFERENCE_PATCH**2
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
        "plan": report.plan,
        "predicted_milliseconds": {plan: 1000 * seconds for plan, seconds in report.why.items()},
    }


def _extra(
    kind: str, whole: Picture, result: Picture, report: Report, upscaler: DynamicUpscaler, sides: tuple[int, int]
) -> Picture:
    """A further picture; `whole` is the picture as it was run, continued by so many pixels at its `sides`."""
    picture, side = cut_back(whole, *sides), upscaler.patch_size
    if kind == COMPARISON:
        return comparison(picture, result, upscaler.network.scale)
    if kind == SUBNETS:
        own = replace(report, choice=own_patches(report.choice, picture.size, *sides, side))
        return subnet_overlay(result, own, upscaler)
    scores = upscaler.scores(to_tensor(whole, upscaler.network.in_channels).to(upscaler.device))
    return score_overlay(result, own_patches(scores, picture.size, *sides, side), upscaler)
