"""What HES, BDLoss and the supernet are each worth: the paper's Table 2 and Figure 5 at small scale.

    python benchmarks/ablation.py --data DIR [--results FILE] [--seeds 0 1 2] [--arms NAME ...] [--iterations 1000]

DIR holds `train_hr`, `Set5` and `Set14`, HR images each. Every run is one `wbsr train` over an option file that is kept
beside FILE: MSRResNet x4 (32 wide, 8 blocks), patches of 64 HR pixels, batch 16, Adam, 5e-4 by cosine after a warm-up
of 100 iterations, bf16, equal numbers of iterations. Arms of one seed draw the same patches, but for HES in its last
30 %. Arms are all combinations of

    plain or supernet   the full network alone, or nine subnets (widths 16, 24, 32, depths 2, 4, 8), one for each step
    L1 or BDLoss        the default form of BDLoss
    uniform or HES      delta 0.9, sample level 0.7

so that the paper's rows are: `plain`: its baseline; `supernet HES`, `supernet BDLoss` and `supernet HES BDLoss`: + HES,
+ L_bd and + WBSR, by dynamic inference under Eq. 15; `plain HES BDLoss`: + WBSR †. Scores are PSNR and SSIM on Y, means
over the images of Set5 and Set14, and PSNR of all patches of a difficulty class together (see `loss_ablation.py`).
Each finished run appends a row; rows that stand there already are not run again, and a run that was killed is resumed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from loss_ablation import SHARES, Pair, class_limits, read_pairs
from loss_ablation import evaluate as evaluate_by_class
from torch import Tensor, nn
from tqdm import tqdm

from wbsr import compat

compat.install()
from basicsr.metrics import calculate_ssim  # noqa: E402

from wbsr_models import DynamicUpscaler  # noqa: E402

SCALE, PATCH = 4, 64
BACKBONE = {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 32, "num_block": 8, "upscale": SCALE}
ARMS = [
    " ".join(filter(None, parts)) for parts in itertools.product(("plain", "supernet"), ("", "HES"), ("", "BDLoss"))
]
PAPER_ROWS = {
    "plain": "SRResNet",
    "supernet HES": "+ HES",
    "supernet BDLoss": "+ L_bd",
    "supernet HES BDLoss": "+ WBSR",
    "plain HES BDLoss": "+ WBSR †",
}
Run = Callable[[Tensor], tuple[Tensor, float]]  # LR image -> SR image and its share of FLOPs


def options(arm: str, seed: int, iterations: int, rate: float, data: Path) -> dict[str, Any]:
    """The option file of one run."""
    is_supernet, has_hes, has_loss = "supernet" in arm, "HES" in arm, "BDLoss" in arm
    subnets = {"widths": [16, 24, 32], "depths": [2, 4, 8]} if is_supernet else {"widths": [32], "depths": [8]}
    loss = {"type": "BDLoss", "dataroot_gt": str(data / "HR")} if has_loss else {"type": "L1Loss"}
    train = {
        "total_iter": iterations,
        "warmup_iter": 100,  # at higher rates, or without it, random draws go astray, see docs/supernet.md
        "ema_decay": 0,
        "optim_g": {"type": "Adam", "lr": rate, "weight_decay": 0, "betas": [0.9, 0.999]},
        "scheduler": {
            "type": "CosineAnnealingRestartLR",
            "periods": [iterations],
            "restart_weights": [1],
            "eta_min": 1e-6,
        },
        "pixel_opt": loss,
        "supernet": {"strategy": "random", "power": 1},
        "compute": {"precision": "bf16", "channels_last": True},
    }
    return {
        "name": f"{arm.replace(' ', '_')}_{seed}",
        "model_type": "WBSRModel",
        "scale": SCALE,
        "num_gpu": "auto",
        "manual_seed": seed,
        "datasets": {
            "train": {
                "name": "train",
                "type": "HESPairedImageDataset",
                "dataroot_gt": str(data / "HR"),
                "dataroot_lq": str(data / f"LRx{SCALE}"),
                "io_backend": {"type": "disk"},
                "gt_size": PATCH,
                "use_hflip": True,
                "use_rot": True,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": 16,
                "dataset_enlarge_ratio": 100,
                "prefetch_mode": None,
                "hes": {"delta": 0.9, "sample_level": 0.7 if has_hes else 1.0},
            }
        },
        "network_g": {"type": "Supernet", "backbone": BACKBONE, **subnets},
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": train,
        "logger": {"print_freq": 100, "save_checkpoint_freq": 500, "use_tb_logger": False},
    }


def train(arm: str, seed: int, iterations: int, rate: float, folder: Path) -> Path:
    """Run `wbsr train` in `folder`, or what is left of it; the checkpoint.

    Raises:
        RuntimeError: the training failed; its log stands beside the option file.
    """
    opt = options(arm, seed, iterations, rate, Path("data"))
    file, log = folder / f"{opt['name']}.yml", folder / f"{opt['name']}.log"
    file.write_text(yaml.safe_dump(opt, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "wbsr", "train", "-opt", file.name, "--auto_resume"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with log.open("a") as output:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=output, stderr=output, check=False)
    if done.returncode:
        raise RuntimeError(f"{file} failed: see {log}")
    return folder / "experiments" / str(opt["name"]) / "models" / "net_g_latest.pth"


def runs(arm: str, checkpoint: Path) -> dict[str, Run]:
    """How a trained arm is tested: the whole network, and for a supernet dynamic inference too."""
    upscaler = DynamicUpscaler.from_checkpoint(checkpoint)
    found = {"full": upscaler.routed("full"), "paper": upscaler}

    def runner(one: DynamicUpscaler) -> Run:
        def run(lr: Tensor) -> tuple[Tensor, float]:
            sr, report = one(lr)
            return sr, report.flops_share

        return run

    return {name: runner(one) for name, one in found.items() if "supernet" in arm or name == "full"}


class Recorder(nn.Module):
    """Runs, and keeps what came out."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.outputs: list[Tensor] = []
        self.shares: list[float] = []

    def forward(self, lr: Tensor) -> Tensor:
        sr, share = self.run(lr)
        self.outputs.append(sr)
        self.shares.append(share)
        return sr


def evaluate(run: Run, pairs: list[Pair], limits: Tensor) -> dict[str, float]:
    """PSNR and SSIM on Y and the share of FLOPs, means over the images, and the PSNR of each class."""
    recorder = Recorder(run)
    by_class = evaluate_by_class(recorder, pairs, limits)
    ssim = []
    for sr, pair in zip(recorder.outputs, pairs, strict=True):
        image = sr[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        settings = {"crop_border": SCALE, "test_y_channel": True}
        ssim.append(calculate_ssim(image[..., ::-1], pair.hr[..., ::-1], **settings))
    whole = {"psnr": by_class.pop("all"), "ssim": float(np.mean(ssim)), "flops": float(np.mean(recorder.shares))}
    return whole | by_class


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: the first line as it is, the others as differences to it, paired by seed, mean ± deviation."""
    base = {row["seed"]: row for row in rows if (row["arm"], row["run"]) == ("plain", "full")}
    lines = [
        f"| paper's row | arm | network | seeds | FLOPs % | PSNR | SSIM | {' | '.join(SHARES)} |",
        "|---" * 10 + "|",
    ]
    for arm, run in dict.fromkeys((row["arm"], row["run"]) for row in rows):
        own = [row for row in rows if (row["arm"], row["run"]) == (arm, run) and row["seed"] in base]
        cells = []
        for key, digits in (("psnr", 3), ("ssim", 4), *((name, 3) for name in SHARES)):
            gains = [row[key] - base[row["seed"]][key] for row in own]
            spread = f" ± {np.std(gains, ddof=1):.{digits}f}" if len(gains) > 1 else ""
            plain = f"{np.mean([row[key] for row in own]):.{digits}f}" if own else "–"
            cells.append(plain if arm == "plain" else f"{np.mean(gains):+.{digits}f}{spread}" if own else "–")
        name = PAPER_ROWS.get(arm, "–") if run == ("paper" if "supernet" in arm else "full") else "–"
        share = f"{100 * np.mean([row['flops'] for row in own]):.1f}" if own else "–"
        lines.append(f"| {name} | {arm} | {run} | {len(own)} | {share} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is asked for and has no row yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of train_hr, Set5 and Set14")
    parser.add_argument("--results", type=Path, default=Path("results/ablation/rows.jsonl"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    arguments = parser.parse_args()
    folder = arguments.results.parent
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    if arguments.results.exists():
        rows = [json.loads(line) for line in arguments.results.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["iterations"] == arguments.iterations]
    done = {(row["arm"], row["seed"]) for row in rows}
    todo = [(arm, seed) for seed in arguments.seeds for arm in arguments.arms if (arm, seed) not in done]
    if todo:
        prepare = ["prepare", "--hr", str(arguments.data / "train_hr"), "--out", str(folder / "data"), "--scale", "4"]
        subprocess.run([sys.executable, "-m", "wbsr", *prepare], check=True, stdout=subprocess.DEVNULL)
        limits = class_limits(read_pairs(arguments.data / "train_hr"))
        pairs = read_pairs(arguments.data / "Set5") + read_pairs(arguments.data / "Set14")
    for arm, seed in tqdm(todo, desc="training", unit="run"):
        checkpoint = train(arm, seed, arguments.iterations, arguments.rate, folder)
        for name, run in runs(arm, checkpoint).items():
            scores = evaluate(run, pairs, limits)
            rows.append({"arm": arm, "run": name, "seed": seed, "iterations": arguments.iterations, **scores})
        with arguments.results.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows if (row["arm"], row["seed"]) == (arm, seed))
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
