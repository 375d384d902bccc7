"""All that a GPU is needed for, by one command: the tests marked `gpu`, the speed benchmarks, and trainings for what is
left of the time.

    python benchmarks/gpu.py --minutes 9 --out DIR [--only tests,speed,train] [--rehearse]

Every step runs in a process of its own, with its own time limit; its result stands in DIR before the next begins, and
one that fails ends nothing but itself. Trainings come from a queue of option files; what an earlier call left in DIR
(or --resume DIR) goes on where it was cut off. DIR holds at most 8 files of at most 16 MB: `gpu.json` and the packed
trainings. It needs the repository on the path, the README's packages, and images (--data): no network, no install.

--rehearse runs all of it on a CPU with tiny networks, in about three minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
QUEUE = ("options/reference/train_srresnet_x4.yml", "options/reference/train_light_x4.yml")
KINDS = ("tests", "speed", "train")
PART, MOST_PARTS = 15 * 2**20, 7  # bytes of a file of packed trainings, and how many: the eighth file is gpu.json
TAIL = 4000  # characters of a step's output that are kept
GRACE = 20  # seconds that a training which is asked to stop may take
LEAST = 30  # seconds, below which nothing more is begun


@dataclass(frozen=True)
class Step:
    """A command to run.

    `seconds`: its time limit; `command`: after the Python interpreter.
    """

    name: str
    seconds: float
    command: Sequence[str]


@dataclass
class Outcome:
    """What became of a step: its exit code (None: it ran past its limit), its seconds, and the end of what it said."""

    name: str
    code: int | None
    seconds: float
    output: str
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def word(self) -> str:
        return {0: "done", None: "cut off"}.get(self.code, f"failed ({self.code})")


def run(step: Step, folder: Path) -> Outcome:
    """Run a step in `folder`; it is asked to stop at its limit, and killed if it does not."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
    start, log = time.monotonic(), folder / f"{step.name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *step.command],
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(max(1, step.seconds))
        except subprocess.TimeoutExpired:
            code = None
            for blow in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, blow)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
                    break
    text = log.read_text(encoding="utf-8", errors="replace")
    return Outcome(step.name, code, time.monotonic() - start, text[-TAIL:])


def test_steps(rehearse: bool) -> list[Step]:
    """The tests marked `gpu`; where there is no GPU they are skipped."""
    return [
        Step(
            "tests",
            60 if rehearse else 150,
            ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", str(ROOT / "tests")],
        )
    ]


def speed_steps(data: Path, rehearse: bool) -> list[Step]:
    """The benchmarks of training and inference."""
    images = ["--images", str(data / "Set14")]

    def step(name: str, seconds: float, *arguments: str, script: str | None = None) -> Step:
        return Step(name, seconds, [str(ROOT / "benchmarks" / f"{script or name}.py"), *arguments])

    if rehearse:
        return [
            step("train_speed", 90, "--rehearse"),
            step("losses", 30, "--repeats", "1", "--batch", "1", "--side", "32"),
            step("inference", 90, "--rehearse", *images),
        ]
    return [
        step("train_speed", 150, "--data", str(data / "train_hr")),
        step("train_step", 60, "--device", "cuda"),
        *(
            step(
                f"inference_{arch}_{side}",
                60,
                *images,
                "--device",
                "cuda",
                "--arch",
                arch,
                "--long-side",
                side,
                "--limit",
                "1",
                script="inference",
            )
            for arch in ("SRResNet", "RCAN")
            for side in ("510", "1440")
        ),
        step("losses", 40, "--device", "cuda"),
    ]


def tests_found(output: str) -> dict[str, int]:
    """How many tests passed, failed and were skipped, out of pytest's last line."""
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", output)}


class Trainings:
    """Trainings from a queue, in a folder of their own, in turn until the time is used.

    Args:
        folder: where they run.
        data: with `train_hr` and `Set5`, of which pairs are made once.
        rehearse: whether they are cut to a few iterations of a small batch on a CPU.
    """

    def __init__(self, folder: Path, data: Path, rehearse: bool) -> None:
        self.folder, self.data, self.rehearse = folder, data, rehearse

    def prepare(self, scale: int) -> list[Step]:
        """Make the pairs that the option files under options/reference name."""
        sets = {"reference": "train_hr", "Set5": "Set5"}
        made = [
            (name, self.data / hr)
            for name, hr in sets.items()
            if not (self.folder / "datasets" / name / f"LRx{scale}").is_dir()
        ]
        return [
            Step(
                f"prepare_{name}",
                120,
                ["-m", "wbsr", "prepare", "--hr", str(hr), "--out", f"datasets/{name}", "--scale", str(scale)],
            )
            for name, hr in made
        ]

    def step(self, option_file: Path, seconds: float) -> Step:
        """Train by an option file, from where it was cut off."""
        changes = [
            "train:total_iter=6",
            "datasets:train:batch_size_per_gpu=2",
            "logger:save_checkpoint_freq=3",
            "val:val_freq=6",
        ]
        forced = ["--force_yml", *changes] if self.rehearse else []
        return Step(
            option_file.stem, seconds, ["-m", "wbsr", "train", "-opt", str(option_file), "--auto_resume", *forced]
        )

    def iteration(self, name: str) -> int:
        """How far a training is: its newest state."""
        states = (self.folder / "experiments" / name / "training_states").glob("*.state")
        return max((int(path.stem) for path in states if path.stem.isdecimal()), default=0)

    def finished(self, name: str) -> bool:
        """Whether it has ended: BasicSR writes `latest` last."""
        return (self.folder / "experiments" / name / "models" / "net_g_latest.pth").is_file()

    def files(self, name: str) -> list[Path]:
        """What goes on from where a training is: its newest state and networks, and its log."""
        root, number = self.folder / "experiments" / name, self.iteration(name)
        wanted = [root / "training_states" / f"{number}.state", root / "models" / f"net_g_{number}.pth"]
        return [path for path in [*wanted, root / "models" / "net_g_latest.pth", *root.glob("*.log")] if path.is_file()]


def pack(trainings: Trainings, names: Sequence[str], out: Path) -> list[str]:
    """Pack trainings into parts of a tar file in `out`, those that fit, the first of the queue first.

    Returns:
        The names of those that do not fit.
    """
    for old in out.glob("trainings.tar.*"):
        old.unlink()
    room, left_out = PART * MOST_PARTS, []
    whole = trainings.folder / "trainings.tar"
    with tarfile.open(whole, "w") as archive:
        for name in names:
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


def table(outcomes: Sequence[Outcome]) -> str:
    """What was run, a line each."""
    lines = [f"{'step':28} {'seconds':>8}  what became of it"]
    for each in outcomes:
        found = ", ".join(f"{value} {name}" for name, value in each.found.items())
        lines.append(f"{each.name:28} {each.seconds:8.1f}  {each.word}{': ' if found else ''}{found}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the steps, write DIR, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9, help="for everything (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets gpu.json and packed trainings")
    parser.add_argument("--only", default=",".join(KINDS), help="which of tests,speed,train (default: all)")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU with tiny networks")
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", metavar="DIR", help="with train_hr, Set5, Set14"
    )
    parser.add_argument("--queue", type=Path, nargs="+", default=[ROOT / name for name in QUEUE], metavar="FILE")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="trainings of an earlier call (default: --out)")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where everything runs (default: DIR/work of a temporary folder)"
    )
    arguments = parser.parse_args()
    kinds = arguments.only.split(",")
    for kind in kinds:
        if kind not in KINDS:
            parser.error(f"--only takes some of {', '.join(KINDS)}, got {kind!r}")
    sys.stdout.write(session(arguments, kinds))


def session(arguments: argparse.Namespace, kinds: Sequence[str]) -> str:
    """All steps of a call, within its minutes; the table of what became of them."""
    import tempfile

    end = time.monotonic() + 60 * arguments.minutes
    out, data = arguments.out.resolve(), arguments.data.resolve()
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []

    def left() -> float:
        return float(end - time.monotonic())

    def do(step: Step) -> Outcome:
        outcomes.append(run(Step(step.name, min(step.seconds, left()), step.command), work))
        write(outcomes[-1])
        return outcomes[-1]

    def write(last: Outcome) -> None:
        sys.stderr.write(f"{last.name}: {last.word}, {last.seconds:.0f} s\n")
        content = {
            "arguments": {key: str(value) for key, value in vars(arguments).items()},
            "steps": [asdict(each) for each in outcomes],
        }
        (out / "gpu.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    with contextlib.ExitStack() as stack:
        work = arguments.work.resolve() if arguments.work else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        steps = test_steps(arguments.rehearse) if "tests" in kinds else []
        steps += speed_steps(data, arguments.rehearse) if "speed" in kinds else []
        for step in steps:
            if left() > LEAST:
                done = do(step)
                if step.name == "tests":
                    done.found = tests_found(done.output)
        if "train" in kinds:
            unpack(arguments.resume or out, work)
            train(
                Trainings(work, data, arguments.rehearse), [path.resolve() for path in arguments.queue], out, left, do
            )
        if outcomes:
            write(outcomes[-1])
    return table(outcomes)


def train(trainings: Trainings, queue: Sequence[Path], out: Path, left: Any, do: Any) -> None:
    """Train what the queue holds, in turn, and pack what came out after each."""
    for step in trainings.prepare(4):
        if left() > LEAST:
            do(step)
    names = [path.stem for path in queue]
    for path in queue:
        if left() < LEAST or trainings.finished(path.stem):
            continue
        done = do(trainings.step(path, left() - GRACE))
        done.found = {"iterations": trainings.iteration(path.stem)}
        left_out = pack(trainings, names, out)
        if left_out:
            done.found["too large to pack"] = len(left_out)


if __name__ == "__main__":
    main()
