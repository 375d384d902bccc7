"""How to train the subnets of a network that is trained already: the table of docs/findings/adopt.md.

    python benchmarks/adopt.py --data DIR [--results FILE] [--seed 0] [--arms NAME ...] [--rates 2e-3 ...]
                               [--pretrain 6000] [--budget 2000] [--backbone EDSR] [--scale 2]

DIR holds `train_hr`, `Set5` and `Set14`, HR images each, as for `strategies.py`, whose networks and measure these are.
The full network is trained alone for the cost of `--pretrain` of its steps, at 2e-3, and kept beside FILE. Every arm
starts from it and spends the cost of `--budget` steps of the full network; the pass of a frozen teacher counts as a
third of a step. `from scratch` spends both as a supernet, under `random`, at 2e-3. Each row is the PSNR of the luma of
the nine subnets, in order of cost; it is appended to FILE, too.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from photographs import Pair, batches, read_pairs
from strategies import BATCH, LAYOUT, PATCH, evaluate, make_supernet
from torch import nn
from torch.nn import functional as F

from wbsr_arch.supernet import Supernet
from wbsr_base.devices import keep_freed_blocks
from wbsr_models.training.strategy import StrategyOptions, draw_subnets

RATE = 2e-3  # of a training that starts from nothing


@dataclass(frozen=True)
class Arm:
    """What a step trains, and on what.

    `strategy`: `alone` is the full network alone. `subnet_weight`: of the losses of subnets beside the full network's.
    `distillation`: weight of the L1 distance to the teacher's output; `frozen`: the teacher is the network as it was
    trained, and the full network learns from it too, otherwise it is the full network of the same step. `hr`: weight of
    the L1 distance to the HR patch.
    """

    strategy: Literal["alone", "random", "sandwich"]
    subnet_weight: float = 1.0
    distillation: float = 0.0
    frozen: bool = False
    hr: float = 1.0


SCRATCH = "from scratch"
ARMS = {
    "full network alone": Arm("alone"),
    "random": Arm("random"),
    "sandwich, distillation": Arm("sandwich", distillation=1),
    "sandwich, 1/16, distillation": Arm("sandwich", 1 / 16, 1),
    "sandwich, 1/32, distillation": Arm("sandwich", 1 / 32, 1),
    "sandwich, 1/16, frozen teacher": Arm("sandwich", 1 / 16, 1, frozen=True),
    "sandwich, frozen teacher alone": Arm("sandwich", 1, 1, frozen=True, hr=0),
    "sandwich, 1/16, frozen teacher alone": Arm("sandwich", 1 / 16, 1, frozen=True, hr=0),
    SCRATCH: Arm("random"),
}


def train(net: Supernet, arm: Arm, rate: float, pairs: list[Pair], seed: int, budget: float) -> int:
    """Train at the cost of `budget` steps of the full network, the rate falling by a cosine; the number of steps."""
    optimizer = torch.optim.Adam(net.parameters(), rate, fused=True)
    teacher = net.extract().to(memory_format=LAYOUT) if arm.frozen else None
    stream, spent, step = batches(pairs, seed, BATCH, PATCH), 0.0, 0
    while spent < budget:
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * spent / budget))
        subnets = [net.full]
        if arm.strategy != "alone":
            subnets = draw_subnets(StrategyOptions(arm.strategy), net.flops, seed, step)
        train_step(net, subnets, arm, next(stream), optimizer, teacher)
        spent, step = spent + sum(map(net.share, subnets)) + arm.frozen / 3, step + 1
    return step


def train_step(
    net: Supernet,
    subnets: list[Any],
    arm: Arm,
    batch: Pair,
    optimizer: torch.optim.Optimizer,
    teacher: nn.Module | None,
) -> None:
    """One step, the full network first."""
    lr, hr = batch
    optimizer.zero_grad()
    target = None if teacher is None else teacher(lr)
    for subnet in reversed(subnets):
        output = net(lr, subnet)
        loss = arm.hr * F.l1_loss(output, hr)
        if arm.distillation and target is not None:
            loss = loss + arm.distillation * F.l1_loss(output, target)
        (loss if subnet == net.full else arm.subnet_weight * loss).backward()  # type: ignore[no-untyped-call]
        if subnet == net.full and teacher is None:
            target = output.detach()
    optimizer.step()


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description="Ways to adopt a trained network, at equal training cost.")
    parser.add_argument("--data", type=Path, required=True, help="folder of train_hr, Set5 and Set14")
    parser.add_argument("--results", type=Path, default=Path("results/adopt.jsonl"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--pretrain", type=float, default=6000, help="cost in steps of the full network")
    parser.add_argument("--budget", type=float, default=2000, help="cost of adopting, in steps of the full network")
    parser.add_argument("--backbone", choices=["EDSR", "MSRResNet"], default="EDSR")
    parser.add_argument("--scale", type=int, choices=[2, 3, 4], default=2)
    parser.add_argument("--rates", type=float, nargs="+", default=[RATE], help="learning rates of adopting")
    options = parser.parse_args()
    keep_freed_blocks()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    name = f"{options.backbone}_x{options.scale}_{options.pretrain:g}_{options.seed}.pth"
    pretrained = options.results.with_name(name)
    pairs = read_pairs(options.data / "train_hr", options.scale)
    test = [pair for name in ("Set5", "Set14") for pair in read_pairs(options.data / name, options.scale)]

    def run(arm: str, rate: float, net: Supernet, seed: int, budget: float) -> None:
        start = time.process_time()
        steps = train(net, ARMS[arm], rate, pairs, seed, budget)
        spent, found = time.process_time() - start, evaluate(net, test)
        row = {"arm": arm, "rate": rate, "seed": options.seed, "steps": steps, "CPU s": spent, **found}
        with options.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        values = " | ".join(f"{value:.2f}" for value in found.values())
        sys.stdout.write(f"| {arm} | {rate:g} | {steps} | {spent:.0f} | {values} |\n")
        sys.stdout.flush()

    if not pretrained.exists():
        net = make_supernet(options.backbone, options.scale, options.seed)
        run("full network alone", RATE, net, options.seed, options.pretrain)
        torch.save({"params": net.state_dict()}, pretrained)
    for arm, rate in product(options.arms, options.rates):
        net = make_supernet(options.backbone, options.scale, options.seed)
        if arm == SCRATCH:
            run(arm, RATE, net, options.seed, options.pretrain + options.budget)
            continue
        net.load_state_dict(torch.load(pretrained, weights_only=True)["params"])
        run(arm, rate, net, options.seed + 100, options.budget)


if __name__ == "__main__":
    main()
