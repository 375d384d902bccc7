"""What BDLoss does to PSNR, overall and per difficulty class, against L1 and MSE: the table of docs/findings/bdloss.md.

    python benchmarks/loss_ablation.py --data DIR [--results FILE] [--seeds 0 1 2] [--arms NAME ...]

The arms are plain losses and forms of BDLoss over a decade of σ or b, such as `laplace pixel, b 0.01`, and each of them
`late`: L1 for the first 70 % (the sample-level stage), then the loss that is named. Without --arms those of the table
are run; a name that isn't known is answered with all of them.

DIR holds `train_hr`, `Set5` and `Set14`, HR images each; LR images are made from them by MATLAB's bicubic. Every arm
trains MSRResNet (16 wide, 4 blocks, x4) for 1,000 iterations of 16 patches of 48 x 48 HR pixels with Adam; the arms of
one seed share their initial weights and every batch, so that differences between arms are paired. Classes are patches
of 16 x 16 LR pixels of the test images by `gradient_score`, cut where the training images have the paper's shares of
easy (48.8 %), medium (34.6 %) and hard (16.6 %) patches. A row is appended to FILE as soon as its run ends, and rows
that stand there already are not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import Pair, batches, luma, psnr, read_pairs
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from wbsr_base.basicsr import MSRResNet
from wbsr_base.devices import keep_freed_blocks
from wbsr_data.gradient import gradient_score
from wbsr_losses import BDLoss

SCALE, BORDER = 4, 4
PATCH, CELL = 12, 16  # LR pixels: training patches, and the patches that have classes
BATCH, ITERATIONS, RATE = 16, 1000, 1e-3
SHARES = {"easy": 0.488, "medium": 0.346, "hard": 0.166}
AS_LARGE_AS_L1 = 12.0  # gradients of MSE times this have about the size of L1's, after 700 iterations
SAMPLE_LEVEL = 0.7  # the share of iterations after which the class-level stage begins
SIGMAS = (0.003, 0.005, 0.01, 0.02, 0.03, 0.05)
STRENGTHS = (0.25, 0.5, 1.0)
IN_THE_TABLE = (
    "L1",
    "MSE",
    "laplace pixel, b 0.01",
    "laplace pixel, b 0.05",
    "laplace residual, b 0.01",
    "gaussian pixel, sigma 0.005",
    "gaussian pixel, sigma 0.01",
    "gaussian pixel, sigma 0.05",
    "gaussian residual, sigma 0.01",
    "weighted texture, strength 0.25, sigma 0.02",
    "late MSE",
    "late laplace pixel, b 0.01",
    "late laplace pixel, b 0.03",
    "late gaussian pixel, sigma 0.01",
    "late weighted texture, strength 0.25, sigma 0.02",
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Arm:
    """A loss of (prediction, HR, LR), and the share of the training that goes before it on L1."""

    loss: Loss
    start: float = 0.0


class Training:
    """One network on its way; the arms of a seed branch off copies of it."""

    def __init__(self, pairs: list[Pair], seed: int) -> None:
        torch.manual_seed(seed)
        self.net = MSRResNet(num_feat=16, num_block=4, upscale=SCALE).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.net.parameters(), RATE)
        self.done = 0
        self.pairs, self.seed = pairs, seed

    def run(self, loss: Loss, until: int) -> Training:
        """Train on to iteration `until`; the batches are those of the iterations done."""
        stream = batches(self.pairs, self.seed, BATCH, PATCH)
        for _ in range(self.done):
            next(stream)
        for step in range(self.done, until):
            for group in self.optimizer.param_groups:
                group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / ITERATIONS))
            lr, hr = next(stream)
            self.optimizer.zero_grad()
            value = loss(self.net(lr), hr, lr)
            torch.autograd.backward([value])
            self.optimizer.step()
        self.done = until
        return self


def class_limits(pairs: list[Pair]) -> Tensor:
    """The scores that part easy from medium and medium from hard patches, over the training images."""
    scores = torch.cat([gradient_score(lr / 255, CELL).flatten() for lr, _ in pairs])
    shares = torch.tensor(list(SHARES.values()))
    return scores.quantile(shares.cumsum(0)[:2])


@torch.no_grad()
def evaluate(net: nn.Module, pairs: list[Pair], limits: Tensor) -> dict[str, float]:
    """Mean PSNR of the luma over the images, and the PSNR of all patches of each class together."""
    scores, sums, counts = [], torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for lr, hr in ((lr / 255, hr / 255) for lr, hr in pairs):
        sr, truth = luma(net(lr[None].contiguous(memory_format=torch.channels_last))[0]), luma(hr)
        scores.append(psnr(sr, truth, BORDER))
        error = (sr - truth).square()
        classes = torch.bucketize(gradient_score(lr, CELL), limits)
        rows, cols = (side // CELL for side in lr.shape[1:])  # whole patches only
        side = CELL * SCALE
        cells = error[: rows * side, : cols * side].reshape(rows, side, cols, side).mean((1, 3)).double()
        for k in range(3):
            inside = classes[:rows, :cols] == k
            sums[k] += cells[inside].sum()
            counts[k] += inside.sum()
    by_class = {name: -10 * math.log10((sums[k] / counts[k]).item()) for k, name in enumerate(SHARES)}
    return {"all": float(np.mean(scores)), **by_class}


def plain_loss(loss: Callable[[Tensor, Tensor], Tensor], weight: float = 1.0) -> Loss:
    """A loss of (prediction, HR), times `weight`."""
    return lambda pred, hr, lr: weight * loss(pred, hr)


def bd_loss(hr: Path, start: float = 0.0, **options: Any) -> Arm:
    """An arm of BDLoss; its mixture is fitted to the training images."""
    scale = {"scale": SCALE} if options.get("y") == "residual" else {}
    loss = BDLoss(dataroot_gt=str(hr), **{"form": "gaussian", **scale, **options})
    return Arm(lambda pred, hr, lr: loss(pred, hr, lq=lr) if loss.needs_lq else loss(pred, hr), start)


def arms(hr: Path) -> dict[str, Callable[[], Arm]]:
    """All arms by name. Squared losses weigh more in the last stage, since Adam is used to L1.

    A squared loss has gradients a twelfth of L1's there, and Adam remembers those for 1,000 iterations.
    """
    made: dict[str, Callable[[], Arm]] = {"L1": lambda: Arm(plain_loss(F.l1_loss))}
    for prefix, start in (("", 0.0), ("late ", SAMPLE_LEVEL)):
        squared = AS_LARGE_AS_L1 if start else 1.0
        made[f"{prefix}MSE"] = partial(Arm, plain_loss(F.mse_loss, squared), start)
        for form, symbol, weight in (("laplace", "b", 1.0), ("gaussian", "sigma", squared)):
            for y, sigma in itertools.product(("pixel", "residual"), SIGMAS):
                options: dict[str, Any] = {"form": form, "y": y, "noise_sigma": sigma, "loss_weight": weight}
                made[f"{prefix}{form} {y}, {symbol} {sigma}"] = partial(bd_loss, hr, start, **options)
        for strength, sigma in itertools.product(STRENGTHS, (0.02, 0.05)):
            options = {"form": "weighted", "y": "texture", "strength": strength, "noise_sigma": sigma}
            name = f"{prefix}weighted texture, strength {strength}, sigma {sigma}"
            made[name] = partial(bd_loss, hr, start, **options)
    return made


def trunk(pairs: list[Pair], seed: int, until: int, folder: Path) -> Training:
    """The first `until` iterations of a seed, on L1; kept in `folder`, since all late arms begin with them."""
    training, file = Training(pairs, seed), folder / f"trunk-{seed}-{until}.pth"
    if until and file.is_file():
        state = torch.load(file, weights_only=True)
        training.net.load_state_dict(state["net"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.done = until
    elif until:
        training.run(plain_loss(F.l1_loss), until)
        torch.save({"net": training.net.state_dict(), "optimizer": training.optimizer.state_dict()}, file)
    return training


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: mean PSNR, and mean and standard deviation over seeds of the difference to L1."""
    columns = ["all", *SHARES]
    plain = {row["seed"]: row for row in rows if row["arm"] == "L1"}
    lines = ["| loss | seeds | " + " | ".join(columns) + " |", "|---" * (2 + len(columns)) + "|"]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm and row["seed"] in plain]
        cells = []
        for column in columns:
            gains = [row[column] - plain[row["seed"]][column] for row in own]
            if arm == "L1":
                cells.append(f"{np.mean([row[column] for row in own]):.3f} dB")
            else:
                spread = f" ± {np.std(gains, ddof=1):.3f}" if len(gains) > 1 else ""
                cells.append(f"{np.mean(gains):+.3f}{spread}")
        lines.append(f"| {arm} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is asked for and has no row yet, and write the table."""
    parser = argparse.ArgumentParser(description="BDLoss against L1 and MSE.")
    parser.add_argument("--data", type=Path, required=True, help="folder of train_hr, Set5 and Set14")
    parser.add_argument("--results", type=Path, default=Path("results/loss_ablation/rows.jsonl"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=IN_THE_TABLE, help="those of the table if not given")
    options = parser.parse_args()
    hr, folder = options.data / "train_hr", options.results.parent
    folder.mkdir(parents=True, exist_ok=True)
    known = arms(hr)
    unknown = sorted(set(options.arms) - set(known))
    if unknown:
        parser.error(f"no such arm: {', '.join(unknown)}. There are: {'; '.join(known)}")
    keep_freed_blocks()
    rows = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    done = {(row["arm"], row["seed"]) for row in rows}
    todo = [(a, s) for a in options.arms for s in options.seeds if (a, s) not in done]
    if todo:
        train, *tests = (read_pairs(options.data / name, SCALE) for name in ("train_hr", "Set5", "Set14"))
        test = [pair for pairs in tests for pair in pairs]
        limits = class_limits(train)
    for name, seed in tqdm(todo, desc="training", unit="run"):
        arm = known[name]()
        late = arm.start or (SAMPLE_LEVEL if name == "L1" else 0)  # L1 goes by way of the trunk that it shares
        training = trunk(train, seed, round(late * ITERATIONS), folder).run(arm.loss, ITERATIONS)
        rows.append({"arm": name, "seed": seed, **evaluate(training.net, test, limits)})
        with options.results.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
