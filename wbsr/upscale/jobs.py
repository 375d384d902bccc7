"""From files, folders and globs to jobs: which picture is read, and which files are written for it.

Everything that a run will write is known before it starts, so no two outputs bear one name, and none is an input.
"""

from __future__ import annotations

import glob
import mimetypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wbsr_base.pixels.finding import SUFFIXES, images_among, images_below

SUBNETS, SCORES = "subnets", "scores"
MAPS = (SUBNETS, SCORES)
COMPARISON = "compare"
_OTHERS = {  # endings of pictures that are not written, of which systems know some
    *(".avif", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".jfif", ".jp2", ".jpe", ".jxl", ".pbm"),
    *(".pgm", ".pnm", ".ppm", ".psd", ".qoi", ".raw", ".svg", ".tga", ".xcf"),
}
_NO_PICTURE = "names no picture: it must be a file, a folder or a pattern of PNG, JPEG, WebP, TIFF or BMP files"


@dataclass(frozen=True)
class Found:
    """A picture, and where it lies below the folder that was named, for trees that are mirrored."""

    path: Path
    below: Path = Path()


@dataclass(frozen=True)
class Job:
    """A picture to read, and where its results go; maps and the comparison stand beside the result.

    `kinds`: of the further pictures, such as `subnets`.
    """

    source: Path
    target: Path
    kinds: tuple[str, ...] = ()

    def beside(self, kind: str) -> Path:
        """The path of a further picture, such as `name_subnets.png`."""
        return self.target.with_name(f"{self.target.stem}_{kind}.png")

    @property
    def outputs(self) -> dict[Path, str]:
        """What is written, by path: what it is."""
        return {self.target: "", **{self.beside(kind): kind for kind in self.kinds}}


def find_pictures(
    inputs: Sequence[str], recursive: bool = False, out: Path | None = None
) -> tuple[list[Found], dict[str, str]]:
    """The pictures that arguments name: a file by itself, the pictures of a folder by their endings, a glob's matches.

    Args:
        inputs: the arguments.
        recursive: whether the pictures in a folder's subfolders count too.
        out: where results go; a folder that is looked through for pictures does not enter it.

    Returns:
        The pictures, each once, and by argument that names none, what is wrong with it.
    """
    found: dict[Path, Found] = {}
    nothing = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            named = _in_folder(path, recursive, out)
        elif path.exists():
            named = [Found(path)]
        else:
            named = [Found(p) for p in images_among(map(Path, glob.glob(text, recursive=True)))]  # noqa: PTH207
        for each in named:
            found.setdefault(each.path, each)
        if not named:
            nothing[text] = f"{text} {_why_none(path, recursive)}"
    return list(found.values()), nothing


def plan_jobs(
    pictures: Sequence[Found],
    out: Path,
    suffix: str | None = None,
    kinds: Sequence[str] = (),
) -> list[Job]:
    """A job for every picture.

    Args:
        pictures: what is upscaled.
        out: for one picture, a file or a folder; otherwise a folder. A path that ends like a picture is a file, unless
            there is a folder of that name.
        suffix: ending of the results in a folder, such as `.png`; None keeps each picture's own.
        kinds: of the further pictures beside every result.

    Raises:
        ValueError: two outputs would be one file, an output would replace a picture that is to be read, several
            pictures would go to one file, or `out` ends like a format that can't be written.
    """
    if out.suffix.lower() in SUFFIXES and not out.is_dir():
        if len(pictures) > 1:
            raise ValueError(f"-o {out} is one file, got {len(pictures)} pictures: name a folder")
        jobs = [Job(each.path, out, tuple(kinds)) for each in pictures]
    else:
        _check_folder(out)
        jobs = [Job(each.path, out / each.below / _name(each.path, suffix), tuple(kinds)) for each in pictures]
    _refuse_clashes(jobs)
    return jobs


def check_report(report: Path, jobs: Sequence[Job], weights: Path, overwrite: bool = False) -> None:
    """Refuse a report that would replace something else.

    Args:
        report: the file to write.
        jobs: of the run.
        weights: the file of weights in use.
        overwrite: whether a file of that name is replaced.

    Raises:
        ValueError: it is a folder, the weights, a picture that is read or written, or there already.
    """
    place = _place(report)
    if report.is_dir() or place in {_place(folder) for job in jobs for folder in job.target.parents}:
        raise ValueError(f"--report {report} is a folder, or would be one: name a file, such as report.json")
    if place == _place(weights):
        raise ValueError(f"--report {report} would be written onto the weights in use: name another file")
    for job in jobs:
        if place == _place(job.source):
            raise ValueError(f"--report {report} would be written onto a picture that is to be read: name another file")
        for path, kind in job.outputs.items():
            if place == _place(path):
                what = _told(job, kind)
                raise ValueError(f"the report and {what} would both be written to {path}: name another --report")
    if report.exists() and not overwrite:
        raise ValueError(f"--report {report} is there already: give --overwrite to replace it")


def _in_folder(folder: Path, recursive: bool, out: Path | None) -> list[Found]:
    if not recursive:
        return [Found(path) for path in images_among(folder.iterdir())]
    apart = set() if out is None or _place(out) == _place(folder) else {Path(os.path.realpath(out))}
    return [Found(path, path.relative_to(folder).parent) for path in images_below(folder, apart)]


def _why_none(path: Path, recursive: bool) -> str:
    deeper = (found for depth in ("*/*", "*/*/*") for found in path.glob(depth))  # not a whole home folder for a hint
    if path.is_dir() and not recursive and images_among(deeper):
        return "holds pictures in its subfolders alone: add --recursive"
    return _NO_PICTURE


def _check_folder(out: Path) -> None:
    if out.is_dir():
        return
    if out.is_file():
        raise ValueError(f"-o {out} is a file whose ending names no picture format: name a folder, or end it in .png")
    kind = mimetypes.guess_type(out.name)[0] or ""
    if kind.startswith(("image/", "video/")) or kind == "application/pdf" or out.suffix.lower() in _OTHERS:
        raise ValueError(
            f"-o {out} ends like a format that can't be written: end it in one of {', '.join(sorted(SUFFIXES))}, or "
            "make that folder first if it is to be one"
        )


def _name(source: Path, suffix: str | None) -> str:
    own = source.suffix if source.suffix.lower() in SUFFIXES else ".png"
    return f"{source.stem}{suffix or own}"


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    sources = {_place(job.source) for job in jobs}
    taken: dict[str, str] = {}
    for job in jobs:
        for path, kind in job.outputs.items():
            what, option, place = _told(job, kind), _option(kind), _place(path)
            if place in sources:
                raise ValueError(f"{what} would be written onto {path}, which is to be read: name another -o{option}")
            if place in taken:
                raise ValueError(
                    f"{taken[place]} and {what} would both be written to {path}: upscale them to two folders{option}"
                )
            taken[place] = what


def _told(job: Job, kind: str) -> str:
    return f"the {kind} picture of {job.source}" if kind else str(job.source)


def _option(kind: str) -> str:
    return f", or leave out --{COMPARISON if kind == COMPARISON else 'map'}" if kind else ""


def _place(path: Path) -> str:
    """What a file is known by, where upper and lower case count and where they don't; a link may run in circles."""
    return os.path.normcase(os.path.realpath(path))
