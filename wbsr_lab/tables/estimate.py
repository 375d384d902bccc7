"""What a run would do and cost, before it does anything."""

from __future__ import annotations

import copy
import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from wbsr.checks.source import read_options
from wbsr_lab.tables.options import Options
from wbsr_lab.tables.recipe import OPTIONS, Preset, Speed, Table
from wbsr_lab.tables.runner import Job, finished, plan
from wbsr_lab.tables.sets import places

MEASURED = OPTIONS.parent / "benchmarks" / "results" / "gpu"  # what `benchmarks/train_speed.py` wrote on a card
CPU, GPU = 1e11, 1e13  # FLOP/s of training that two CPU cores and one GPU reach, roughly
BACKWARD = 3  # a training step costs so many forward passes

Seconds = dict[str, float | None]  # by the origin of the rates; None where these do not say


def overview(name: str, table: Table, jobs: Sequence[Job], preset: Preset, out: Path) -> str:
    """Every row with its option files, whether it is finished and how long it takes, and the cost of all that is not.

    A training that several rows share counts for the first of them.
    """
    lines = [table.title, ""]
    speed = None if preset.speed is None else measured(preset.speed, MEASURED)
    seconds: dict[str, Seconds] = {}
    total = 0.0
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
        new = {} if done else {each["name"]: each for each in what.trainings if each["name"] not in seconds}
        total += sum(map(flops, new.values()))
        seconds |= {key: _seconds(each, job.backbone, speed) for key, each in new.items()}
        if speed is not None and not done:
            lines[-1] += f"; {_told([seconds[key] for key in new], speed) if new else 'no training of its own'}"
    lines += ["", f"{len(seconds)} trainings, {total / 1e15:.2f} PFLOP in all, tests left out: "]
    if speed is None:
        lines[-1] += f"about {_time(total / CPU)} on two CPU cores, {_time(total / GPU)} on a GPU"
    else:
        lines[-1] += f"{_told(list(seconds.values()), speed)} on one {speed.card}"
        lines += [f"  {origin}: {' '.join(text.split())}" for origin, text in speed.about.items()]
        lines.append("  A training whose rate is not known is taken to need as much longer as it has FLOPs in a step.")
    return "\n".join(lines) + "\n"


def flops(training: Options) -> float:
    """FLOPs of a training: forward and backward passes of one subnet of mean cost for each step."""
    return step_flops(training) * float(training["train"]["total_iter"])


def step_flops(training: Options) -> float:
    """FLOPs of one step."""
    data = training["datasets"]["train"]
    patches = data["batch_size_per_gpu"] * (data["gt_size"] / training["scale"] / 32) ** 2
    return float(BACKWARD * patches * _mean_flops(json.dumps(training["network_g"], sort_keys=True)))


def measured(speed: Speed, folder: Path) -> Speed:
    """The rates that `benchmarks/train_speed.py` found on the card, if a file of its is in the folder; else `speed`."""
    for path in sorted(folder.glob("train_speed*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for row in found["rows"] if row["fast"] and speed.card in row["device"]]
        if rows and not found["rehearsal"]:
            rates = {row["training"]: row["rate"] for row in rows}
            about = f"by benchmarks/train_speed.py on {rows[0]['device']}, torch {found['torch']} ({path.name})"
            return Speed(speed.card, {"measured": rates}, {"measured": about})
    return speed


def _seconds(training: Options, backbone: str, speed: Speed | None) -> Seconds:
    """How long a training takes by the rates of each origin."""
    network = training["network_g"]
    alone = len(network["widths"]) * len(network.get("depths", [])) == 1
    found: Seconds = {}
    for origin, rates in {} if speed is None else speed.rates.items():
        stock = "stock" if backbone == "SRResNet" else f"stock {backbone}"
        known = stock if alone and stock in rates else backbone
        step = _known_step(backbone, known == stock)
        found[origin] = flops(training) / (step * rates[known]) if known in rates else None
    return found


@functools.cache
def _known_step(backbone: str, stock: bool) -> float:
    """FLOPs of a step whose rate is known: of a supernet at x4, or of its full network alone."""
    training = copy.deepcopy(read_options(OPTIONS / "train" / backbone / f"WBSR_{backbone}_x4.yml"))
    if stock:
        network = training["network_g"]
        network.update(widths=network["widths"][-1:], depths=network["depths"][-1:])
    return step_flops(training)


@functools.cache
def _mean_flops(network: str) -> float:
    """FLOPs of a pass of a network, by its options as JSON: the mean over its subnets."""

    import wbsr.plugin  # noqa: F401  registers the networks
    from wbsr_base.basicsr import build_network

    return statistics.fmean(build_network(json.loads(network)).flops.values())


def _told(each: Sequence[Seconds], speed: Speed) -> str:
    """The sums by origin, such as `95 min as measured, 10 min as wanted`."""
    sums: Mapping[str, list[float | None]] = {origin: [one[origin] for one in each] for origin in speed.rates}
    return ", ".join(
        f"{'?' if None in values else _time(sum(value or 0 for value in values))} as {origin}"
        for origin, values in sums.items()
    )


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{max(1, round(seconds / 60))} min"
