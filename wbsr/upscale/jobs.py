"""From files, folders and globs to jobs: which picture is read, and which files are written for it."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wbsr_base.pixels.finding import SUFFIXES


@dataclass(frozen=True)
class Job:
    """A picture to read, and where its results go; maps and the comparison stand beside the result."""

    source: Path
    target: Path

    def beside(self, kind: str) -> Path:
        """The path of a further picture, such as `name_subnets.png`."""
        return self.target.with_name(f"{self.target.stem}_{kind}.png")


def find_pictures(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The pictures that arguments name: a file by itself, the pictures of a folder by their endings, a glob's matches.

    Returns:
        The pictures, each once, and the arguments that name nothing.
    """
    found: list[Path] = []
    nothing = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            named = _pictures(path.iterdir())
        elif path.exists():
            named = [path]
        else:
            named = _pictures(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207  as typed, absolute or not
        found += named
        nothing += [] if named else [text]
    return list(dict.fromkeys(found)), nothing


def plan_jobs(sources: Sequence[Path], out: Path, suffix: str | None = None) -> list[Job]:
    """A job for every picture.

    Args:
        sources: the pictures.
        out: for one picture, a file or a folder; otherwise a folder. A path that ends like a picture is a file, unless
            there is a folder of that name.
        suffix: ending of the results in a folder, such as `.png`; None keeps each picture's own.

    Raises:
        ValueError: two pictures would be written to one file, a picture onto itself, or several to a file.
    """
    if out.suffix.lower() in SUFFIXES and not out.is_dir():
        if len(sources) > 1:
            raise ValueError(f"-o {out} is one file, got {len(sources)} pictures: name a folder")
        jobs = [Job(source, out) for source in sources]
    elif out.is_file():
        raise ValueError(f"-o {out} is a file whose ending names no picture format: name a folder, or end it in .png")
    else:
        jobs = [Job(source, out / f"{source.stem}{suffix or _suffix(source)}") for source in sources]
    _refuse_clashes(jobs)
    return jobs


def _suffix(source: Path) -> str:
    return source.suffix if source.suffix.lower() in SUFFIXES else ".png"


def _pictures(paths: Iterable[Path]) -> list[Path]:
    """Those that end like pictures and are no hidden files, by name."""
    return sorted(p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs}
    taken: dict[Path, Path] = {}
    for job in jobs:
        target = job.target.resolve()
        if target in sources:
            raise ValueError(f"{job.source} would be written onto {job.target}, which is to be read: name another -o")
        if target in taken:
            raise ValueError(
                f"{taken[target]} and {job.source} would both be written to {job.target}: upscale them to two folders"
            )
        taken[target] = job.source
