"""Iterations per second of whole trainings, `wbsr train` from end to end, and how long the GPU waits meanwhile.

    python benchmarks/train_speed.py [--trainings SRResNet stock RCAN] [--data DIR] [--iterations 500] [--today]
                                     [--rehearse] [--json FILE]

Trainings, all at x4, batch 16, LR patches of 32, BasicSR's loop around them:
    SRResNet  its supernet (36/52/64 x 4/8/16), strategy random, BDLoss, bf16
    stock     its full network alone under BasicSR's SRModel, with HES and L1, float32
    RCAN      its supernet (36/52/64 x 5/10/20), strategy random, BDLoss, bf16
with images resident and steps recorded (`resident: auto`, `compute: {graphs: true}`); with `--today` each also without,
by 8 workers. A training runs in a process of its own. Its first `--warm-up` iterations are not timed: they record the
steps. The clock is read once the GPU has done all its work; only log lines, every 100 iterations, make the host wait in
between. Then 100 iterations are profiled: `idle` is the share of their time in which neither a kernel nor a copy ran.
DIR holds HR images; without it some are made up. FILE is written after each training; one that fails is told, and the
others go on. `--rehearse` runs networks of toy size, for machines without a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
import yaml
from processes import run

from wbsr.checks.source import read_options
from wbsr.option_files import find

FILES = {"SRResNet": "WBSR_SRResNet_x4", "stock": "HES_SRResNet_x4", "RCAN": "WBSR_RCAN_x4"}
WANTED = {"SRResNet": 350, "stock": 250, "RCAN": 40}  # iterations per second on one H100
PROFILED = 100
SCALE, SIDE = 4, 480


def main() -> None:
    """Run the trainings and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", nargs="+", choices=list(FILES), default=list(FILES))
    parser.add_argument("--data", type=Path, metavar="DIR", help="HR images (default: 24 made up)")
    parser.add_argument("--iterations", type=int, default=500, help="that are timed (default 500)")
    parser.add_argument("--warm-up", type=int, default=300, help="iterations before (default 300)")
    parser.add_argument("--today", action="store_true", help="also by workers and without recordings")
    parser.add_argument("--rehearse", action="store_true", help="toy networks and 20 iterations")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    arguments = parser.parse_args()
    if arguments.rehearse:
        arguments.iterations, arguments.warm_up = 20, 20
    import wbsr.plugin  # noqa: F401  once, for all trainings

    sys.stdout.write(f"torch {torch.__version__}\n\n")
    sys.stdout.write("| training | resident | graphs | iterations/s | wanted on an H100 | idle | recorded | GPU MB |\n")
    sys.stdout.write(f"|{'---|' * 8}\n")
    hr = arguments.data.resolve() if arguments.data else None
    rows: list[dict[str, Any]] = []
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_a_process(functools.partial(make_data, folder / "data", hr), folder)
        for training, fast in itertools.product(arguments.trainings, (True, False) if arguments.today else (True,)):
            try:
                rows.append({"training": training, "fast": fast, **measure(folder, training, fast, arguments)})
            except RuntimeError as error:
                failed = True
                sys.stdout.write(f"{training}: {error}\n")
                continue
            sys.stdout.write(line(rows[-1]))
            if arguments.json:
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                about = {"torch": torch.__version__, "rehearsal": arguments.rehearse}
                arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"\nMeasured on: {', '.join({row['device'] for row in rows})}\n")
    sys.exit(failed)


def in_a_process(work: Callable[[], object], folder: Path) -> str:
    """Do some work in a process of its own in `folder`; what it said.

    Raises:
        RuntimeError: it failed.
    """
    log = folder / "said.log"
    code = run(work, folder, log)
    said = log.read_text(encoding="utf-8", errors="replace")
    if code:
        raise RuntimeError(f"a process failed with exit code {code}:\n{said[-3000:]}")
    return said


def make_data(folder: Path, hr: Path | None) -> None:
    """Pairs of HR and LR images under a folder, of the images in `hr` or of made-up ones."""
    from wbsr_data import Recipe, Target, prepare

    if hr is None:
        hr = folder / "made_up"
        make_up_images(hr, 24, (SIDE, SIDE))
    prepare(hr, Target(folder / "pairs"), Recipe((SCALE,)))


def make_up_images(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Images of `size`, a multiple of 4, with a ramp of colours and coarse noise in each, more from one to the next."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, size[0])[:, None, None]
    for number in range(count):
        low, high = rng.uniform(0, 255, (2, 3))
        noise = rng.normal(0, 24 * number / count, (size[0] // 4, size[1] // 4, 3)).repeat(4, 0).repeat(4, 1)
        cv2.imwrite(str(folder / f"{number}.png"), (low + ramp * (high - low) + noise).clip(0, 255).astype(np.uint8))


def options(training: str, fast: bool, folder: Path, total: int, rehearse: bool) -> dict[str, Any]:
    """A shipped option file with the benchmark's data, and nothing but steps and log lines in it."""
    opt = read_options(find(FILES[training]).path)
    roots = {"dataroot_gt": str(folder / "data/pairs/HR"), "dataroot_lq": str(folder / f"data/pairs/LRx{SCALE}")}
    opt["name"] = f"{training}_{'fast' if fast else 'today'}"
    opt["datasets"].pop("val")
    opt.pop("val")
    opt["datasets"]["train"].update(
        roots, num_worker_per_gpu=0 if fast else 8, dataset_enlarge_ratio=200, resident="auto" if fast else False
    )
    opt["train"].update(total_iter=total)
    opt["train"]["scheduler"].update(periods=[total])
    if training != "stock":
        opt["train"]["pixel_opt"] = {"type": "BDLoss", "dataroot_gt": roots["dataroot_gt"]}
    compute = {} if training == "stock" else {"precision": "bf16", "channels_last": True}
    opt["train"]["compute"] = {**compute, "graphs": fast}
    opt["logger"] = {"print_freq": 100, "save_checkpoint_freq": 10**9, "use_tb_logger": False}
    if rehearse:
        shrink(opt)
    return opt


def shrink(opt: dict[str, Any]) -> None:
    """Toy networks and patches, of the kinds that the option file names."""
    network = opt["network_g"]
    backbone = network.get("backbone", network)
    backbone.update({"num_feat": 8, "num_block": 2}, **({"num_group": 1} if "num_group" in backbone else {}))
    if "squeeze_factor" in backbone:
        backbone["squeeze_factor"] = 4
    if "widths" in network:
        network.update(widths=[4, 8], depths=[1, 2])
    train = opt["datasets"]["train"]
    train.update(gt_size=32, batch_size_per_gpu=2, num_worker_per_gpu=0, resident=train.get("resident", True) and "cpu")


def measure(folder: Path, training: str, fast: bool, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one training in a process of its own; what `run_one` found."""
    total = arguments.warm_up + arguments.iterations + 10 + (0 if arguments.rehearse else PROFILED)
    opt = options(training, fast, folder, total, arguments.rehearse)
    path = folder / f"{opt['name']}.yml"
    path.write_text(yaml.safe_dump(opt, sort_keys=False), encoding="utf-8")
    work = functools.partial(run_one, path, folder / "found.json", arguments.warm_up, arguments.iterations)
    said = in_a_process(work, folder)
    found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return {**found, "log": [text for text in said.splitlines() if "train:compute:graphs:" in text]}


def line(row: dict[str, Any]) -> str:
    """A row of the table, and below it why steps were not recorded."""
    idle = "–" if row["idle"] is None else f"{row['idle']:.1%}"
    wanted = f"≥ {WANTED[row['training']]}" if row["fast"] else ""
    cells = [row["training"], row["resident"], row["fast"], f"{row['rate']:.1f}", wanted, idle, row["recorded"]]
    return f"| {' | '.join(map(str, [*cells, row['megabytes']]))} |\n" + "".join(f"{text}\n" for text in row["log"])


class Watch:
    """Reads the clock at some iterations of a training, and profiles the last ones.

    Args:
        warm_up: iterations before the first reading.
        timed: iterations between it and the second.
    """

    def __init__(self, warm_up: int, timed: int) -> None:
        self._warm_up, self._timed = warm_up, timed
        self._profiler: Any = None
        self.found: dict[str, Any] = {"idle": None}
        self._start = 0.0

    def __call__(self, iteration: int) -> None:
        """An iteration is about to begin."""
        done = iteration - 1 - self._warm_up
        if done == 0:
            self._start = self._now()
        elif done == self._timed:
            self.found["rate"] = self._timed / (self._now() - self._start)
            if torch.cuda.is_available():
                self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
                self._profiler.start()
        elif done == self._timed + PROFILED and self._profiler is not None:
            self._now()
            self._profiler.stop()
            self.found["idle"] = idle_share(self._profiler)

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def idle_share(profiler: Any) -> float:
    """The share of the time from the first to the last kernel or copy in which none ran."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    kinds = ("kernel", "gpu_memcpy", "gpu_memset")
    return idle([(float(e["ts"]), float(e["ts"]) + float(e["dur"])) for e in events if e.get("cat") in kinds])


def idle(spans: Sequence[tuple[float, float]]) -> float:
    """The share of the time from the first beginning to the last end that no span covers."""
    busy, end = 0.0, -float("inf")
    for start, stop in sorted(spans):
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return 1 - busy / (end - min(start for start, _ in spans))


@contextlib.contextmanager
def watched(watch: Callable[[int], None]) -> Iterator[list[Any]]:
    """Tell `watch` of each iteration of BasicSR's loop; gives the models that took part."""
    from wbsr_base.basicsr import BaseModel

    models: list[Any] = []
    original = BaseModel.update_learning_rate

    def update_learning_rate(self: Any, current_iter: int, warmup_iter: int = -1) -> None:
        models[:] = [self]
        watch(current_iter)
        original(self, current_iter, warmup_iter)

    with patch.object(BaseModel, "update_learning_rate", update_learning_rate):
        yield models


def run_one(path: Path, result: Path, warm_up: int, timed: int) -> None:
    """Run `wbsr train` with an option file in the current folder, and write what was found to `result`."""
    from wbsr.training import train
    from wbsr_data.resident_loader import Batches

    watch, places = Watch(warm_up, timed), set()
    make = Batches.__call__

    def noting(self: Batches, draws: Sequence[Any]) -> MutableMapping[str, Any]:
        places.add(str(self.resident.lr.device))
        return make(self, draws)

    with patch.object(Batches, "__call__", noting), watched(watch) as models:
        train(["-opt", str(path)])
    recordings = getattr(models[0], "recordings", None)
    memory = torch.cuda.max_memory_reserved() / 1e6 if torch.cuda.is_available() else 0.0
    found = {
        **watch.found,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "resident": ", ".join(places) or "no",
        "recorded": recordings.recordings if recordings is not None else 0,
        "megabytes": round(memory),
    }
    result.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
