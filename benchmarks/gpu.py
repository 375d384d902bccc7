"""All that a GPU is needed for, by one command: the tests marked `gpu`, the speed benchmarks, and trainings for what is
left of the time.

    python benchmarks/gpu.py --minutes 9 --out DIR [--only tests,speed,train] [--rehearse]

Every step runs in a process of its own, with its own time limit; its result stands in DIR before the next begins, and
one that fails ends nothing but itself. Trainings come from a queue of option files; what an earlier call left in DIR
(or --resume DIR) goes on where it was cut off. DIR holds at most 8 files of at most 16 MB: `gpu.json`, what
`train_speed.py` measured (from which `wbsr tables --dry-run` tells minutes once it lies in benchmarks/results/gpu), and
the packed trainings. It needs the repository on the path, the README's packages, and images (--data): no network, no
install.

--rehearse runs all of it on a CPU, with tiny networks and made-up images, in less than three minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from processes import GRACE, Work, module, run, script  # noqa: E402
from train_speed import make_up_images  # noqa: E402
from trainings import Trainings, pack, unpack  # noqa: E402

QUEUE = ("options/reference/train_srresnet_x4.yml", "options/reference/train_light_x4.yml")
KINDS = ("tests", "speed", "train")
TAIL = 4000  # characters of a step's output that are kept
LEAST = 30  # seconds, below which nothing more is begun


@dataclass(frozen=True)
class Step:
    """Work that has a name, and a time limit in seconds. Results that it leaves in NAME.json are kept."""

    name: str
    seconds: float
    work: Work


@dataclass
class Outcome:
    """What became of a step: its exit code (None: it ran past its limit), its seconds, the end of what it said, what
    is told of it in the table, and its results."""

    name: str
    code: int | None
    seconds: float
    output: str
    found: dict[str, Any] = field(default_factory=dict)
    results: Any = None

    @property
    def word(self) -> str:
        return {0: "done", None: "cut off"}.get(self.code, f"failed ({self.code})")


def outcome(step: Step, folder: Path) -> Outcome:
    """Run a step in `folder`."""
    start, log, results = time.monotonic(), folder / f"{step.name}.log", folder / f"{step.name}.json"
    code = run(step.work, folder, log, max(1, step.seconds))
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    found = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else None
    return Outcome(step.name, code, time.monotonic() - start, text[-TAIL:], results=found)


def test_steps(rehearse: bool) -> list[Step]:
    """The tests marked `gpu`; where there is no GPU they are skipped."""
    marked = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    arguments = ["-q", "-m", "gpu", "-p", "no:cacheprovider", "-p", "no:xdist", *map(str, marked)]
    return [Step("tests", 120 if rehearse else 150, module("pytest", *arguments))]


def speed_steps(data: Path, rehearse: bool) -> list[Step]:
    """The benchmarks of training and inference."""

    def step(name: str, seconds: float, *arguments: str, file: str | None = None) -> Step:
        return Step(name, seconds, script(ROOT / "benchmarks" / f"{file or name}.py", *arguments))

    train_speed, images = ["--json", "train_speed.json"], ["--images", str(data / "Set14")]
    if rehearse:
        tiny = ["--repeats", "1", "--batch", "1", "--side", "32"]
        results = ["--shares", "0.6", "--repeats", "2", "--threads", "1", "--results", "inference.json"]
        return [
            step("train_speed", 120, "--rehearse", *train_speed),
            step("train_step", 30, "--networks", "MSRResNet", "--repeats", "1", "--batch", "1", "--patch", "8"),
            step("losses", 30, *tiny, "--threads", "1"),
            step("inference", 120, "--rehearse", *images, *results),
        ]
    cuda, steps = ["--device", "cuda"], []
    for arch in ("SRResNet", "RCAN"):
        for side in ("510", "1440"):
            name = f"inference_{arch}_{side}"
            which = ["--arch", arch, "--long-side", side, "--limit", "1", "--results", f"{name}.json"]
            steps.append(step(name, 60, *images, *cuda, *which, file="inference"))
    return [
        step("train_speed", 150, "--data", str(data / "train_hr"), *train_speed),
        step("train_step", 60, *cuda),
        *steps,
        step("losses", 40, *cuda),
    ]


def tests_found(output: str) -> dict[str, int]:
    """How many tests passed, failed and were skipped, out of pytest's last line."""
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", output)}


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
    parser.add_argument("--rehearse", action="store_true", help="on a CPU with tiny networks and made-up images")
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", metavar="DIR", help="with train_hr, Set5, Set14"
    )
    parser.add_argument("--queue", type=Path, nargs="+", default=[ROOT / name for name in QUEUE], metavar="FILE")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="trainings of an earlier call (default: --out)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where everything runs (default: a temporary folder)")
    arguments = parser.parse_args()
    kinds = arguments.only.split(",")
    for kind in kinds:
        if kind not in KINDS:
            parser.error(f"--only takes some of {', '.join(KINDS)}, got {kind!r}")
    importlib.import_module("wbsr.plugin")  # once, for all steps
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
    sys.stdout.write(session(arguments, kinds))


def session(arguments: argparse.Namespace, kinds: Sequence[str]) -> str:
    """All steps of a call, within its minutes; the table of what became of them."""
    end = time.monotonic() + 60 * arguments.minutes
    out, data = arguments.out.resolve(), arguments.data.resolve()
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []

    def left() -> float:
        return float(end - time.monotonic())

    def do(step: Step) -> Outcome:
        sys.stderr.write(f"{step.name} ...\n")
        outcomes.append(outcome(Step(step.name, min(step.seconds, left()), step.work), work))
        write()
        sys.stderr.write(f"{step.name}: {outcomes[-1].word}, {outcomes[-1].seconds:.0f} s\n")
        return outcomes[-1]

    def write() -> None:
        content = {
            "arguments": {key: str(value) for key, value in vars(arguments).items()},
            "steps": [asdict(each) for each in outcomes],
        }
        (out / "gpu.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if (work / "train_speed.json").is_file():
            shutil.copyfile(work / "train_speed.json", out / "train_speed.json")

    with contextlib.ExitStack() as stack:
        work = arguments.work.resolve() if arguments.work else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        if arguments.rehearse:
            data = work / "data"
            for name in ("train_hr", "Set5", "Set14"):
                make_up_images(data / name, 2, (160, 200))
        steps = test_steps(arguments.rehearse) if "tests" in kinds else []
        steps += speed_steps(data, arguments.rehearse) if "speed" in kinds else []
        for step in steps:
            if left() > LEAST:
                done = do(step)
                if step.name == "tests":
                    done.found = tests_found(done.output)
        if "train" in kinds and left() > LEAST:
            unpack(arguments.resume or out, work)
            queue = [path.resolve() for path in arguments.queue]
            train(Trainings(work, queue, arguments.rehearse), data, out, left, do)
        write()
    return table(outcomes)


def train(
    trainings: Trainings, data: Path, out: Path, left: Callable[[], float], do: Callable[[Step], Outcome]
) -> None:
    """Train what the queue holds, in turn, and pack what came out after each."""
    do(Step("prepare", 150, partial(trainings.prepare, data)))
    for path in trainings.queue:
        if left() < LEAST or trainings.finished(path.stem):
            continue
        begun = trainings.iteration(path.stem)
        done = do(Step(path.stem, left() - GRACE, trainings.work(path)))
        done.found = {"iterations": trainings.iteration(path.stem), "of them before": begun}
        left_out = pack(trainings, out)
        if left_out:
            done.found["too large to pack"] = len(left_out)


if __name__ == "__main__":
    main()
