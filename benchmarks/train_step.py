"""What a supernet costs in training: one step of its full network against the same step of the stock architecture.

    python benchmarks/train_step.py [--networks MSRResNet RCAN] [--batch 16] [--patch 32] [--repeats 9] [--device auto]

A step is forward, L1 loss, backward and Adam, on random patches at x4. The two take turns in one process, so that what
else the machine does meets both, and the ratio is the median over the pairs of neighbours. The limit is 1.05. On a CPU
the clock is the process's CPU time over all threads, which does not count what other programs take.
The cheapest subnet is timed against its stand-alone copy as well: that ratio is what slicing costs where it is done.
`RCAN-small` is RCAN with 2 groups, for machines on which the whole takes minutes.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from wbsr_arch.backbone import build
from wbsr_arch.supernet import Supernet
from wbsr_base.devices import keep_freed_blocks, pick_device, seconds_at

RCAN = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_group": 10, "num_block": 20, "upscale": 4}
NETWORKS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "MSRResNet": ({"type": "MSRResNet", "num_feat": 64, "num_block": 16, "upscale": 4}, [4, 8, 16]),
    "RCAN": (RCAN, [5, 10, 20]),
    "RCAN-small": ({**RCAN, "num_group": 2}, [5, 10, 20]),
}
WIDTHS = [36, 52, 64]
LIMIT = 1.05


def stepper(network: nn.Module, run: Callable[[Tensor], Tensor], lr: Tensor, hr: Tensor) -> Callable[[], float]:
    """A function that takes one training step and returns its seconds."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    clock = time.perf_counter if lr.device.type == "cuda" else time.process_time

    def step() -> float:
        start = seconds_at(lr.device, clock)
        optimizer.zero_grad()
        F.l1_loss(run(lr), hr).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return seconds_at(lr.device, clock) - start

    return step


def compare(ours: Callable[[], float], theirs: Callable[[], float], repeats: int, name: str) -> tuple[float, ...]:
    """Median seconds of both, and the median, least and largest ratio of neighbours; they take turns in going first."""
    ours(), theirs()
    mine, stock = [], []
    for turn in tqdm(range(repeats), desc=name, leave=False):
        pair = {step: step() for step in ((ours, theirs) if turn % 2 else (theirs, ours))}
        mine.append(pair[ours])
        stock.append(pair[theirs])
    ratios = sorted(one / other for one, other in zip(mine, stock, strict=True))
    return statistics.median(mine), statistics.median(stock), statistics.median(ratios), ratios[0], ratios[-1]


def rows(name: str, options: argparse.Namespace, device: torch.device) -> Iterator[str]:
    """The lines of one architecture, each as soon as it is measured."""
    backbone, depths = NETWORKS[name]
    torch.manual_seed(0)
    lr = torch.rand(options.batch, 3, options.patch, options.patch, device=device)
    hr = torch.rand(options.batch, 3, 4 * options.patch, 4 * options.patch, device=device)
    stock = build(backbone).to(device)
    start = time.process_time()
    supernet = Supernet(backbone, WIDTHS, depths).to(device)
    built = time.process_time() - start
    cheapest = supernet.subnets[0]
    alone = supernet.extract(cheapest).train().requires_grad_(True)
    for what, ours, theirs in (
        (f"full ({built:.1f} s to build)", stepper(supernet, supernet, lr, hr), stepper(stock, stock, lr, hr)),
        (
            str(cheapest),
            stepper(supernet, lambda x: supernet(x, cheapest), lr, hr),  # type: ignore[no-any-return]
            stepper(alone, alone, lr, hr),
        ),
    ):
        mine, other, ratio, least, most = compare(ours, theirs, options.repeats, f"{name} {what}")
        yield f"{name:12} {what:24} {1000 * mine:10.1f} {1000 * other:10.1f} {ratio:7.3f} ({least:.3f} to {most:.3f})\n"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description="Training steps of a supernet against the stock architecture.")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=["MSRResNet", "RCAN"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=32, help="side in LR pixels")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    if device.type == "cpu":
        keep_freed_blocks()  # as WBSRModel does
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    sys.stdout.write(
        f"torch {torch.__version__}, {name}, {torch.get_num_threads()} threads; batch {options.batch}, patch "
        f"{options.patch}, {options.repeats} repeats; limit for the full network {LIMIT}\n"
        f"{'network':12} {'subnet':24} {'ours ms':>10} {'stock ms':>10} {'ratio':>7}\n"
    )
    for network in options.networks:
        for line in rows(network, options, device):
            sys.stdout.write(line)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
