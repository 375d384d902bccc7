"""Trainings by option files that go on, perhaps on another machine, where they were cut off; between two calls they
travel as a few small files."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from processes import Work, module
from train_speed import shrink

from wbsr.checks.source import read_options
from wbsr_data import Recipe, Target, prepare

PART, MOST_PARTS = 15 * 2**20, 6  # bytes of a file of packed trainings, and how many
SETS = {"reference": "train_hr", "Set5": "Set5"}  # folders that the option files name, and of the images for them
REHEARSED = 120  # iterations


@dataclass(frozen=True)
class Trainings:
    """Trainings of a queue of option files.

    Args:
        folder: where they run.
        queue: the option files, each named as its experiment is.
        rehearse: whether they are cut to few iterations of tiny networks.
    """

    folder: Path
    queue: Sequence[Path]
    rehearse: bool

    @property
    def names(self) -> list[str]:
        return [path.stem for path in self.queue]

    def prepare(self, data: Path) -> None:
        """Make the pairs that the option files name, of the HR images in `data`; what stands there is kept."""
        scales = tuple(sorted({read_options(path)["scale"] for path in self.queue}))
        for name, hr in SETS.items():
            prepare(data / hr, Target(self.folder / "datasets" / name), Recipe(scales))

    def work(self, option_file: Path) -> Work:
        """Train by an option file, from where it was cut off."""

        def work() -> None:
            path = self._rehearsed(option_file) if self.rehearse else option_file
            module("wbsr", "train", "-opt", str(path), "--auto_resume")()

        return work

    def iteration(self, name: str) -> int:
        """How far a training is: its newest state."""
        states = (self.folder / "experiments" / name / "training_states").glob("*.state")
        return max((int(path.stem) for path in states if path.stem.isdecimal()), default=0)

    def finished(self, name: str) -> bool:
        """Whether it has ended: BasicSR writes `latest` last."""
        return self._models(name, "latest").is_file()

    def files(self, name: str) -> list[Path]:
        """What is kept of a training: the network of one that has ended, the newest state of another, and the log."""
        root, number = self.folder / "experiments" / name, self.iteration(name)
        state = [root / "training_states" / f"{number}.state", self._models(name, str(number))]
        kept = [self._models(name, "latest")] if self.finished(name) else state
        return [path for path in [*kept, *root.glob("*.log")] if path.is_file()]

    def _models(self, name: str, number: str) -> Path:
        return self.folder / "experiments" / name / "models" / f"net_g_{number}.pth"

    def _rehearsed(self, option_file: Path) -> Path:
        opt: dict[str, Any] = read_options(option_file)
        shrink(opt)
        opt["train"].update(total_iter=REHEARSED, warmup_iter=-1)
        opt["train"]["scheduler"]["periods"] = [REHEARSED]
        opt["val"]["val_freq"] = REHEARSED
        opt["logger"].update(print_freq=REHEARSED // 10, save_checkpoint_freq=REHEARSED // 10)
        path = self.folder / option_file.name
        path.write_text(yaml.safe_dump(opt, sort_keys=False), encoding="utf-8")
        return path


def pack(trainings: Trainings, out: Path) -> list[str]:
    """Pack trainings into parts of a tar file in `out`, those that fit, the first of the queue first; none, no file.

    Returns:
        The names of those that do not fit.
    """
    if not any(map(trainings.files, trainings.names)):
        return []
    for old in out.glob("trainings.tar.*"):
        old.unlink()
    room, left_out = PART * MOST_PARTS, []
    whole = trainings.folder / "trainings.tar"
    with tarfile.open(whole, "w") as archive:
        for name in trainings.names:
            files = trainings.files(name)
            size = sum(path.stat().st_size + 1024 for path in files)
            if size > room - 10240:
                left_out.append(name)
                continue
            room -= size
            for path in files:
                archive.add(path, path.relative_to(trainings.folder))
    with whole.open("rb") as archive_file:
        for number in range(MOST_PARTS):
            part = archive_file.read(PART)
            if part:
                (out / f"trainings.tar.{number}").write_bytes(part)
    whole.unlink()
    return left_out


def unpack(source: Path, folder: Path) -> None:
    """Put back what `pack` left in `source`, if it left anything."""
    parts = sorted(source.glob("trainings.tar.*"))
    if not parts:
        return
    whole = folder / "trainings.tar"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    with tarfile.open(whole) as archive:
        archive.extractall(folder, filter="data")
    whole.unlink()
