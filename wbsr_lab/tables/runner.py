"""Runs rows: trains, calibrates and tests, each in a process of its own, and keeps what is finished.

In the folder of the results:

    data/                  LR/HR pairs of the image sets
    options/NAME.yml       every option file that was run, and NAME.log what the run said
    experiments/NAME/      BasicSR's trainings; one that was killed resumes from its last checkpoint
    results/NAME/          BasicSR's tests
    classes/NAME/SET/      what `wbsr analyze` found on the patches of each difficulty class
    rows/NAME.json         finished rows
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from wbsr_base.files import write_whole
from wbsr_lab.tables import options
from wbsr_lab.tables.options import Folders, Options
from wbsr_lab.tables.recipe import Preset, Row

Classes = Literal["none", "tests", "train"]


@dataclass(frozen=True)
class Job:
    """One row with one backbone, scale, length of its trainings and seed."""

    row: Row
    backbone: str
    scale: int
    iterations: int
    seed: int

    @property
    def name(self) -> str:
        """The row's name for this backbone."""
        return self.row.name.format(backbone=self.backbone)

    def __str__(self) -> str:
        return f"{self.name} ({self.backbone} x{self.scale}, {self.iterations} iterations, seed {self.seed})"


@dataclass(frozen=True)
class Plan:
    """What a job runs: its trainings in order, its test, and where its row is kept, relative to the results."""

    trainings: tuple[Options, ...]
    checkpoint: Path
    test: Options
    classes: Classes = "none"

    @property
    def row_file(self) -> Path:
        """Where the finished row lies."""
        return Path("rows") / f"{self.test['name']}{'' if self.classes == 'none' else '_' + self.classes}.json"


def plan(job: Job, preset: Preset, folders: Folders, classes: Classes = "none") -> Plan:
    """What a job will run, with the classes of some sets measured or of none; raises what `options.trainings` does."""
    trainings = options.trainings(job.row, job.backbone, job.scale, job.iterations, job.seed, preset, folders)
    checkpoint = options.weights(trainings[-1])
    if job.row.calibrate is not None:
        checkpoint = checkpoint.with_name("calibrated.pth")
    test = options.test(job.row, trainings[-1], checkpoint, folders)
    return Plan(tuple(trainings), checkpoint, test, classes)


def run(job: Job, what: Plan, preset: Preset, folders: Folders, out: Path, parallel: int = 1) -> dict[str, Any]:
    """Run what a job has not run yet.

    Args:
        job: the row.
        what: its plan.
        preset: its size.
        folders: where the pairs are.
        out: the folder of the results.
        parallel: how many jobs share the cores.

    Returns:
        The finished row: for each test set its metrics, and share of FLOPs.

    Raises:
        RuntimeError: a process failed; its log is named.
    """
    for training in what.trainings:
        _train(training, out, parallel)
    if job.row.calibrate is not None:
        _calibrate(what, folders.train / "HR", [*job.row.calibrate, *preset.calibration], out, parallel)
    _wbsr(["test", "-opt", _write(what.test, out)], what.test["name"], out, parallel)
    results = out / "results" / what.test["name"]
    sets = {name: json.loads((results / f"{name}.json").read_text(encoding="utf-8")) for name in folders.tests}
    row = {
        "row": job.name,
        "backbone": job.backbone,
        "scale": job.scale,
        "iterations": job.iterations,
        "seed": job.seed,
        "trainings": [training["name"] for training in what.trainings],
        "test": what.test["name"],
        "weights": what.checkpoint.as_posix(),
        "protocol": what.test["val"]["dynamic"].get("protocol", "whole"),
        "network": what.test["network_g"],
        "images": {name: result["images"] for name, result in sets.items()},
        "sets": {name: result["rows"][0] for name, result in sets.items()},
    }
    hr = {"none": {}, "tests": folders.tests, "train": {"train": folders.train}}[what.classes]
    row["classes"] = {name: _by_class(what, name, folder / "HR", out, parallel) for name, folder in hr.items()}
    (out / "rows").mkdir(exist_ok=True)
    write_whole(out / what.row_file, json.dumps(row, indent=1) + "\n")
    return row


def analysis(row: Mapping[str, Any], name: str) -> Path:
    """The folder of what `wbsr analyze` found of a row on a set, relative to the folder of the results."""
    return Path("classes") / str(row["test"]) / name


def _by_class(what: Plan, name: str, hr: Path, out: Path, parallel: int) -> list[float | None]:
    """PSNR-Y on a set's patches of each difficulty class, as the row's test routes them."""
    opt, folder = what.trainings[-1], analysis({"test": what.test["name"]}, name)
    patch = opt["datasets"]["train"]["gt_size"] // opt["scale"]
    files = ["--hr", str(hr), "--weights", str(what.checkpoint), "--out", str(folder)]
    size = ["--scale", str(opt["scale"]), "--patch", str(patch)]
    _wbsr(["analyze", *files, *size, *_routing(what.test["val"]["dynamic"])], what.test["name"], out, parallel)
    found = json.loads((out / folder / "analysis.json").read_text(encoding="utf-8"))
    method = "full" if what.test["val"]["dynamic"]["routing"] == "full" else "dynamic"
    return list(found["quality"]["methods"][method]["psnr_y"])


def _routing(dynamic: Mapping[str, Any]) -> list[str]:
    """The arguments of `wbsr analyze` for what a test's block `val:dynamic` routes by first."""
    from wbsr_models.testing.options import parse_dynamic

    _, policy = parse_dynamic(dynamic, "val:dynamic").requests[0]
    given = {"mode": policy.name, **asdict(policy)} if policy.mode == policy.name else asdict(policy)
    arguments = []
    for name, value in given.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            arguments += [f"--{flag}", str(value)]
    return arguments


def finished(job: Job, what: Plan, out: Path) -> dict[str, Any] | None:
    """The row that an earlier run finished, if it did; perhaps for another table, under another name."""
    path = out / what.row_file
    known = {"row": job.name, "iterations": job.iterations}
    return {**json.loads(path.read_text(encoding="utf-8")), **known} if path.is_file() else None


_at_work: dict[str, threading.Lock] = defaultdict(threading.Lock)  # by what is made: rows that run at once may share it


def _train(training: Options, out: Path, parallel: int) -> None:
    with _at_work[training["name"]]:
        if _finished(training, out):
            return
        _wbsr(["train", "-opt", _write(training, out), "--auto_resume"], training["name"], out, parallel)
    if not _finished(training, out):
        raise RuntimeError(f"the training {training['name']} left no network: see {_log(training['name'], out)}")


def _calibrate(what: Plan, hr: Path, arguments: Sequence[str], out: Path, parallel: int) -> None:
    training = what.trainings[-1]
    with _at_work[str(what.checkpoint)]:
        if not (out / what.checkpoint).is_file():
            files = ["--weights", str(options.weights(training)), "--hr", str(hr), "--out", str(what.checkpoint)]
            _wbsr(["calibrate", *files, *arguments], training["name"], out, parallel)


def _finished(training: Options, out: Path) -> bool:
    """Whether a training went to its end: BasicSR writes `latest` last."""
    return (out / options.weights(training)).is_file()


def _write(opt: Options, out: Path) -> str:
    folder = out / "options"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{opt['name']}.yml", yaml.safe_dump(opt, sort_keys=False, allow_unicode=True))
    return f"options/{opt['name']}.yml"


def _log(name: str, out: Path) -> Path:
    return out / "options" / f"{name}.log"


def _wbsr(arguments: Sequence[str], name: str, out: Path, parallel: int) -> None:
    """Run `wbsr` in the folder of the results, on a share of the cores; it inherits the folder's lock."""
    (out / "options").mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // parallel))
    paths = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
    environment = os.environ | {"PYTHONPATH": paths} | ({"OMP_NUM_THREADS": threads} if parallel > 1 else {})
    command = [sys.executable, "-m", "wbsr", *arguments]
    with _log(name, out).open("a", encoding="utf-8") as log:
        done = subprocess.run(command, cwd=out, env=environment, stdout=log, stderr=log, close_fds=False, check=False)
    if done.returncode:
        raise RuntimeError(f"`wbsr {arguments[0]}` failed with exit code {done.returncode}: see {_log(name, out)}")
