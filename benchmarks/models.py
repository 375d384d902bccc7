"""The shipped light model beside its rivals: the table and the plot of docs/guide/models.md.

    python benchmarks/models.py --images DIR [--threads 1] [--repeats 9]

DIR holds photographs, of which 128 x 128 LR pixels from the middle of the largest are taken, made by MATLAB's bicubic.
Times are medians of calls that take turns. Networks are timed as plain torch runs them, channels-last, over the unit:
MSRResNet x4, 32 wide, 8 blocks, which was the light model before. A routing's time is the full network's, times its
share of it in the upscaler. PSNR comes from benchmarks/results/light_x4/Set5.json, as `wbsr test` wrote it. The
rivals' rows were measured elsewhere, with their authors' weights and the same unit, and are given here as they were
told.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from photographs import as_tensor, image_files, read_hr
from turns import Clock

from wbsr.shipped import find_weights
from wbsr_arch import backbone
from wbsr_base.pixels.bicubic import crop_to_multiple, resize
from wbsr_models import DynamicUpscaler, Routing
from wbsr_models.checkpoints.loading import load_supernet
from wbsr_models.routing.policy import Policy

ROOT = Path(__file__).parents[1]
SIDE, SCALE = 128, 4
UNIT = {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 32, "num_block": 8, "upscale": SCALE}
BUDGETS = ("budget 0.8", "budget 0.6", "budget 0.5", "budget 0.4", "budget 0.3")


class Row(NamedTuple):
    """A network: PSNR-Y in dB on Set5, its time over the unit's, and its parameters."""

    name: str
    psnr: float
    time: float
    parameters: str


RIVALS = (
    Row("RLFN (pruned, NTIRE 2024 baseline)", 32.10, 0.46, "317 k"),
    Row("SAFMN (NTIRE 2023 size)", 32.16, 0.54, "237 k"),
    Row("light_x4 before: MSRResNet 32 x 8, full", 31.24, 1.00, "233 k"),
    Row("light_x4 before, budget 0.4", 31.11, 0.60, "233 k"),
)


def patch(folder: Path) -> torch.Tensor:
    """(3, 128, 128), range 0-1."""
    largest = max(image_files(folder), key=lambda path: path.stat().st_size)
    lr = as_tensor(resize(crop_to_multiple(read_hr(largest), SCALE), 1 / SCALE)) / 255
    top, left = ((side - SIDE) // 2 for side in lr.shape[1:])
    return lr[:, top : top + SIDE, left : left + SIDE].contiguous()


def rows(folder: Path, repeats: int) -> list[Row]:
    """The light model's rows, measured now."""
    found = json.loads((ROOT / "benchmarks/results/light_x4/Set5.json").read_text(encoding="utf-8"))
    psnr = {row["name"]: row["psnr_y"] for row in found["rows"]}
    path, lr, layout = find_weights("light_x4"), patch(folder), torch.channels_last
    clock, batch = Clock(time.perf_counter, lr.device), lr[None].contiguous(memory_format=layout)
    supernet, _ = load_supernet(path)
    networks = {str(subnet): supernet.extract(subnet) for subnet in supernet.subnets}
    networks = {name: network.to(memory_format=layout) for name, network in networks.items()}
    networks["unit"] = backbone.build(UNIT).eval().to(memory_format=layout)
    with torch.inference_mode():
        alone = clock.run({name: partial(network, batch) for name, network in networks.items()}, repeats)
        ours = DynamicUpscaler.from_checkpoint(path)  # from here on freed memory is kept
        routed = {name: ours.routed(_policy(name)) for name in ("full", *BUDGETS)}
        times = clock.run({name: partial(upscaler, lr) for name, upscaler in routed.items()}, repeats)
    full, parameters = str(supernet.full), {str(one): count for one, count in supernet.num_parameters.items()}
    share = {name: float(np.median(alone[name] / alone["unit"])) for name in parameters}
    share |= {name: share[full] * float(np.median(times[name] / times["full"])) for name in routed}
    names = [*routed, *(name for name in parameters if name != full)]
    return [Row(f"light_x4, {n}", psnr[n], share[n], f"{parameters.get(n, parameters[full]):,}") for n in names]


def _policy(name: str) -> Policy:
    mode, *budget = name.split()
    return Routing(mode, float(budget[0])) if budget else Routing(mode)


def table(found: Sequence[Row]) -> str:
    """In Markdown."""
    lines = ["| network | parameters | Set5 | time |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.parameters} | {row.psnr:.2f} | {row.time:.2f} |" for row in (*found, *RIVALS)]
    return "\n".join(lines) + "\n"


def plot(found: Sequence[Row], path: Path) -> None:
    """PSNR over time: routings as a line, subnets and rivals as points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    ours = [row for row in found if "budget" in row.name or row.name.endswith("full")]
    subnets = [row for row in found if row not in ours]
    ours.sort(key=lambda row: row.time)
    axes.plot([row.time for row in ours], [row.psnr for row in ours], "o-", color="tab:blue", label="light_x4, routed")
    axes.plot([r.time for r in subnets], [r.psnr for r in subnets], ".", color="tab:cyan", label="its subnets alone")
    for row, marker in zip(RIVALS, "s^D>", strict=True):
        axes.plot(row.time, row.psnr, marker, color="tab:red" if "before" not in row.name else "gray", label=row.name)
    axes.set_xlabel("CPU time of 128 x 128 LR pixels, one thread (the light model before = 1)")
    axes.set_ylabel("PSNR-Y on Set5 x4, dB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, write the table, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "images" / "models.png")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = rows(arguments.images, arguments.repeats)
    plot(found, arguments.plot)
    sys.stdout.write(table(found))


if __name__ == "__main__":
    main()
