"""Which training strategy makes the nine subnets best at equal training cost: the table of docs/findings/strategies.md.

    python benchmarks/strategies.py --data DIR [--results FILE] [--seeds 0 1 2] [--arms NAME ...]
                                    [--backbone EDSR] [--scale 2] [--rates 2e-3 ...] [--warmup 0]

DIR holds `train_hr`, `Set5` and `Set14`, HR images each; LR images are made from them by MATLAB's bicubic. Every run
trains a supernet, widths 8, 12 and 16, depths 2, 4 and 8, on L1 with Adam and a cosine schedule. Cost is counted in
FLOPs: a step costs the sum of the subnets it runs, and every strategy stops at the cost of `--budget` steps of the full
network. The strategies of one seed share their initial weights and their stream of batches. The table is mean PSNR of
the luma over Set5 and Set14, from which centres of at most 128 LR pixels are cut; of several learning rates it shows
each strategy at the one that served the mean of its nine subnets best. A row is appended to FILE as soon as its run
ends, and rows that stand there already are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import Pair, batches, luma, psnr, read_pairs
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from wbsr_arch.supernet import Supernet
from wbsr_base.devices import keep_freed_blocks
from wbsr_models.training.strategy import StrategyOptions, draw_subnets

ARMS = {
    "random": StrategyOptions("random"),
    "random, p = 1": StrategyOptions("random", power=1.0),
    "random, p = 2": StrategyOptions("random", power=2.0),
    "random, full first 10 %": StrategyOptions("random", full_first=0.1),
    "random, full first 25 %": StrategyOptions("random", full_first=0.25),
    "random, full first 50 %": StrategyOptions("random", full_first=0.5),
    "sandwich, 1": StrategyOptions("sandwich", 1),
    "sandwich, 1, p = 1": StrategyOptions("sandwich", 1, power=1.0),
    "sandwich, 2": StrategyOptions("sandwich", 2),
    "all": StrategyOptions("all"),
    "sandwich, 1, distillation 1": StrategyOptions("sandwich", 1, distillation=1.0),
    "full network alone": None,
}
REFERENCE = "random"
SETTING = ("arm", "seed", "budget", "backbone", "scale", "warmup", "rate")
COUNTS = ("steps", "CPU s")  # of a run's training: what the same FLOPs come to
BATCH, PATCH, CROP = 8, 16, 128
LAYOUT = torch.channels_last  # by an eighth faster here


def make_supernet(architecture: str, scale: int, seed: int) -> Supernet:
    torch.manual_seed(seed)
    backbone = {"type": architecture, "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_block": 8, "upscale": scale}
    return Supernet(backbone, widths=[8, 12, 16], depths=[2, 4, 8]).to(memory_format=LAYOUT)


def train(
    net: Supernet,
    arm: StrategyOptions | None,
    rate: float,
    pairs: list[Pair],
    seed: int,
    budget: float,
    warmup: float,
) -> int:
    """Train until the FLOPs of `budget` steps of the full network are spent; the number of steps.

    The rate rises linearly over the share `warmup` of the budget, and falls by a cosine over the whole of it.
    """
    optimizer = torch.optim.Adam(net.parameters(), rate, fused=True)
    stream, spent, step = batches(pairs, seed, BATCH, PATCH), 0.0, 0
    while spent < budget:
        for group in optimizer.param_groups:
            rise = min(1.0, (spent + 1) / (warmup * budget + 1))
            group["lr"] = rate * rise * 0.5 * (1 + math.cos(math.pi * spent / budget))
        subnets = [net.full] if arm is None else draw_subnets(arm, net.flops, seed, step, spent / budget)
        train_step(net, subnets, arm or StrategyOptions(), next(stream), optimizer)
        spent, step = spent + sum(map(net.share, subnets)), step + 1
    return step


def train_step(
    net: Supernet,
    subnets: list[Any],
    arm: StrategyOptions,
    batch: Pair,
    optimizer: torch.optim.Optimizer,
) -> None:
    """One step of `WBSRModel`, without BasicSR around it."""
    lr, hr = batch
    optimizer.zero_grad()
    teacher: Tensor | None = None
    for subnet in reversed(subnets):
        output = net(lr, subnet)
        loss = F.l1_loss(output, hr)
        if arm.distillation and teacher is not None:
            loss = loss + arm.distillation * F.l1_loss(output, teacher)
        loss.backward()  # type: ignore[no-untyped-call]
        teacher = output.detach() if subnet == net.full else teacher
    optimizer.step()


@torch.no_grad()
def evaluate(net: Supernet, pairs: list[Pair]) -> dict[str, float]:
    """Mean PSNR of the luma of each subnet over the images' centres."""
    found: dict[str, float] = {}
    for subnet in net.subnets:
        network, values = net.extract(subnet).to(memory_format=LAYOUT), []
        for lr, hr in pairs:
            lr, hr = _centre(lr, hr, net.scale)
            sr = network((lr[None].float() / 255).contiguous(memory_format=LAYOUT))[0]
            values.append(psnr(luma(sr), luma(hr / 255), net.scale))
        found[str(subnet)] = float(np.mean(values))
    return found


def _centre(lr: Tensor, hr: Tensor, scale: int) -> Pair:
    top, left = (max(0, side - CROP) // 2 for side in lr.shape[1:])
    bottom, right = top + CROP, left + CROP
    return lr[:, top:bottom, left:right], hr[:, top * scale : bottom * scale, left * scale : right * scale]


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: the reference strategy's PSNR in dB, and the others' difference to it over the seeds that both
    have, mean and standard deviation, each at its best rate. Without rows of the reference, the first arm that has rows
    takes its place."""
    subnets = [key for key in rows[0] if key not in (*SETTING, *COUNTS)]
    columns = ["mean of nine", *subnets]
    for row in rows:
        row["mean of nine"] = float(np.mean([row[name] for name in subnets]))
    rates = best_rates(rows)
    rows = [row for row in rows if row["rate"] == rates[row["arm"]]]
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    reference = REFERENCE if REFERENCE in arms else arms[0]
    base = {row["seed"]: row for row in rows if row["arm"] == reference}
    header = ["strategy", "rate", "seeds", *COUNTS, *columns]
    lines = [_line(header), "|" + "---|" * len(header)]
    for arm in sorted(arms, key=lambda arm: arm != reference):
        own = [row for row in rows if row["arm"] == arm and row["seed"] in base]
        counts = [f"{np.mean([row[name] for row in own]):.0f}" if own else "" for name in COUNTS]
        plain = arm == reference
        cells = [_cell([row[c] - (0 if plain else base[row["seed"]][c]) for row in own], plain) for c in columns]
        lines.append(_line([arm, f"{rates[arm]:g}", str(len(own)), *counts, *cells]))
    return "\n".join(lines) + "\n"


def best_rates(rows: list[dict[str, Any]]) -> dict[str, float]:
    """For each arm the learning rate at which the mean of its nine subnets is best, over its seeds."""
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        found.setdefault(row["arm"], {}).setdefault(row["rate"], []).append(row["mean of nine"])
    return {arm: max(means, key=lambda rate: float(np.mean(means[rate]))) for arm, means in found.items()}


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(values: list[float], plain: bool) -> str:
    """Mean, and of differences the spread over seeds; empty without a seed in common with the reference."""
    if not values:
        return ""
    if plain:
        return f"{np.mean(values):.2f}"
    return f"{np.mean(values):+.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")


def main() -> None:
    """Run what is asked for and has no row yet, and write the table."""
    parser = argparse.ArgumentParser(description="Training strategies of a supernet at equal training cost.")
    parser.add_argument("--data", type=Path, required=True, help="folder of train_hr, Set5 and Set14")
    parser.add_argument("--results", type=Path, default=Path("results/strategies.jsonl"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--budget", type=float, default=500, help="training cost in steps of the full network")
    parser.add_argument("--backbone", choices=["EDSR", "MSRResNet"], default="EDSR")
    parser.add_argument("--scale", type=int, choices=[2, 3, 4], default=2)
    parser.add_argument("--warmup", type=float, default=0.0, help="share of the budget over which the rate rises")
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-3], help="learning rates")
    parser.add_argument("--images", type=int, default=60, help="images of train_hr to train on")
    options = parser.parse_args()
    keep_freed_blocks()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    asked = {name: getattr(options, name) for name in ("budget", "backbone", "scale", "warmup")}
    rows = [row for row in rows if all(row[name] == value for name, value in asked.items())]
    done = {(row["arm"], row["rate"], row["seed"]) for row in rows}
    todo = [key for key in product(options.arms, options.rates, options.seeds) if key not in done]
    if todo:
        pairs = read_pairs(options.data / "train_hr", options.scale, options.images)
        test = [pair for name in ("Set5", "Set14") for pair in read_pairs(options.data / name, options.scale)]
    for arm, rate, seed in tqdm(todo, desc="training", unit="run"):
        start, net = time.process_time(), make_supernet(options.backbone, options.scale, seed)
        steps = train(net, ARMS[arm], rate, pairs, seed, options.budget, options.warmup)
        setting = {"arm": arm, "seed": seed, "rate": rate, **asked}
        counts = dict(zip(COUNTS, (steps, time.process_time() - start), strict=True))
        rows.append({**setting, **counts, **evaluate(net, test)})
        with options.results.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
