"""Which backbone a light model should have: quality over time of its subnets, after equal training time.

    python benchmarks/backbones.py --data DIR [--seconds 240] [--rates 5e-4 1e-3] [--results FILE]

DIR holds `train_hr`, `Set5` and `Set14`, HR images each; LR images are made from them by MATLAB's bicubic, x4. Each
backbone trains as a supernet, one subnet for each step, in proportion to its cost, in bf16, by Adam (0.9, 0.99), until
so many seconds of CPU time are spent; the rate rises over a tenth of them and falls by a cosine. Told is, for each of
its subnets, the mean PSNR of the luma over the test images, and the time of 128 x 128 LR pixels in float32, in turns
with all others, on one thread. A row is appended to FILE as soon as its run ends.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from photographs import Pair, batches, read_pairs
from strategies import LAYOUT, evaluate
from torch.nn import functional as F

from wbsr_arch.supernet import Supernet
from wbsr_models.training.compute import Compute, ComputeOptions
from wbsr_models.training.strategy import StrategyOptions, draw_subnets

SCALE, BATCH, PATCH, SIDE = 4, 16, 32, 128
TURNS = 5
STRATEGY = StrategyOptions("random", power=1.0)
COLOURS = {"num_in_ch": 3, "num_out_ch": 3}
BACKBONES: dict[str, dict[str, Any]] = {
    "MSRResNet 32 x 8": {
        "backbone": {"type": "MSRResNet", "num_feat": 32, "num_block": 8, "upscale": SCALE, **COLOURS},
        "widths": [16, 24, 32],
        "depths": [2, 4, 8],
    },
    "SRVGGNetCompact 48 x 16": {
        "backbone": {"type": "SRVGGNetCompact", "num_feat": 48, "num_conv": 16, "upscale": SCALE, **COLOURS},
        "widths": [16, 32, 48],
        "depths": [5, 10, 16],
        "depth_arg": "num_conv",
    },
    "LRResNet 48 x 10": {
        "backbone": {"type": "LRResNet", "num_feat": 48, "num_block": 10, "upscale": SCALE, **COLOURS},
        "widths": [16, 32, 48],
        "depths": [3, 6, 10],
    },
}


def train(net: Supernet, rate: float, pairs: list[Pair], seconds: float) -> int:
    """Train until the CPU time is spent; the number of steps."""
    compute = Compute(ComputeOptions(precision="bf16", channels_last=True), torch.device("cpu"), net.output_layers)
    optimizer = torch.optim.Adam(net.parameters(), rate, betas=(0.9, 0.99))
    stream, start, step = batches(pairs, 0, BATCH, PATCH), time.process_time(), 0
    while (done := (time.process_time() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, 10 * done + 1e-3) * 0.5 * (1 + math.cos(math.pi * done))
        (subnet,) = draw_subnets(STRATEGY, net.flops, 0, step, done)
        lr, hr = next(stream)
        optimizer.zero_grad()
        with compute.autocast():
            output = net(lr.contiguous(memory_format=LAYOUT), subnet)
        compute.backward([F.l1_loss(output.float(), hr)])
        compute.step(optimizer)
        step += 1
    return step


@torch.inference_mode()
def milliseconds(nets: dict[str, Supernet]) -> dict[str, dict[str, float]]:
    """Of each backbone the time of each subnet, medians of turns."""
    x = torch.rand(1, 3, SIDE, SIDE).contiguous(memory_format=LAYOUT)
    networks = {
        (name, str(subnet)): net.extract(subnet).to(memory_format=LAYOUT)
        for name, net in nets.items()
        for subnet in net.subnets
    }
    times: dict[tuple[str, str], list[float]] = {key: [] for key in networks}
    for turn in range(TURNS + 1):
        for key, network in networks.items():
            start = time.perf_counter()
            network(x)
            if turn:  # the first prepares
                times[key].append(1000 * (time.perf_counter() - start))
    found: dict[str, dict[str, float]] = {name: {} for name in nets}
    for (name, subnet), values in times.items():
        found[name][subnet] = statistics.median(values)
    return found


def make(name: str) -> Supernet:
    torch.manual_seed(0)
    return Supernet(**BACKBONES[name]).to(memory_format=LAYOUT)


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: each backbone at the rate that served the mean of its subnets best."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        mean = statistics.mean(row["psnr"].values())
        if row["backbone"] not in best or mean > statistics.mean(best[row["backbone"]]["psnr"].values()):
            best[row["backbone"]] = row
    times = milliseconds({name: make(name) for name in best})
    lines = ["| backbone | rate | steps | subnet | parameters | ms | PSNR |", "|---|---|---|---|---|---|---|"]
    for name, row in best.items():
        net = make(name)
        for subnet in net.subnets:
            cells = [name, f"{row['rate']:g}", row["steps"], subnet, f"{net.num_parameters[subnet]:,}"]
            lines.append(
                f"| {' | '.join(map(str, cells))} | {times[name][str(subnet)]:.1f} | {row['psnr'][str(subnet)]:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what has no row yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of train_hr, Set5 and Set14")
    parser.add_argument("--results", type=Path, default=Path("results/backbones.jsonl"))
    parser.add_argument("--seconds", type=float, default=240, help="CPU time of a training (default: %(default)s)")
    parser.add_argument("--rates", type=float, nargs="+", default=[5e-4, 1e-3])
    parser.add_argument("--backbones", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--images", type=int, default=100, help="of train_hr to train on (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    done = {(row["backbone"], row["rate"], row["seconds"]) for row in rows}
    todo = [(name, rate) for rate in options.rates for name in options.backbones]
    todo = [key for key in todo if (*key, options.seconds) not in done]
    if todo:
        pairs = read_pairs(options.data / "train_hr", SCALE, options.images)
        test = [pair for name in ("Set5", "Set14") for pair in read_pairs(options.data / name, SCALE)]
    for name, rate in todo:
        net = make(name)
        steps = train(net, rate, pairs, options.seconds)
        rows.append({"backbone": name, "rate": rate, "seconds": options.seconds, "steps": steps})
        rows[-1]["psnr"] = evaluate(net, test)
        with options.results.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    sys.stdout.write(table([row for row in rows if row["seconds"] == options.seconds]))


if __name__ == "__main__":
    main()
