"""What a run would do and cost, before it does anything."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Sequence
from pathlib import Path

from wbsr_lab.tables.options import Options
from wbsr_lab.tables.recipe import OPTIONS, Preset, Table
from wbsr_lab.tables.runner import Job, finished, plan
from wbsr_lab.tables.sets import places

CPU, GPU = 1e11, 1e13  # FLOP/s of training that two CPU cores and one GPU reach, roughly
BACKWARD = 3  # a training step costs so many forward passes


def overview(name: str, table: Table, jobs: Sequence[Job], preset: Preset, out: Path) -> str:
    """Every row with its option files and whether it is finished, and the cost of all that is not."""
    lines = [table.title, ""]
    costs: dict[str, float] = {}
    for job in jobs:
        files = job.row.option_files(job.backbone, job.scale)
        missing = [path for path in files if not path.is_file()]
        shown = ", ".join(str(path.relative_to(OPTIONS.parent)) for path in files)
        if missing:
            lines.append(f"  impossible  {job}: {shown}; {missing[0].name} is not there")
            continue
        what = plan(job, preset, places(preset, job.scale), table.classes)
        done = finished(job, what, out) is not None
        lines.append(f"  {'finished' if done else 'to do':10}  {job}: {shown}")
        if not done:
            costs |= {training["name"]: flops(training) for training in what.trainings}
    total = sum(costs.values())
    lines += [
        "",
        f"{len(costs)} trainings, {total / 1e15:.2f} PFLOP in all, tests left out: about {_time(total / CPU)} ",
    ]
    lines[-1] += f"on two CPU cores, {_time(total / GPU)} on a GPU"
    return "\n".join(lines) + "\n"


def flops(training: Options) -> float:
    """FLOPs of a training: forward and backward passes of one subnet of mean cost for each step."""

    import wbsr.plugin  # noqa: F401  registers the networks
    from wbsr_base.basicsr import build_network

    network = build_network(copy.deepcopy(training["network_g"]))
    data = training["datasets"]["train"]
    patches = data["batch_size_per_gpu"] * (data["gt_size"] / training["scale"] / 32) ** 2
    return float(BACKWARD * statistics.fmean(network.flops.values()) * patches * training["train"]["total_iter"])


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(1, round(seconds / 60))} min"
