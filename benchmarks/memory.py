"""Most memory, by the operating system's accounting, for one large result: the figure of docs/findings/speed.md.

    python benchmarks/memory.py [--height 1080] [--width 1920] [--memory-mb MB] [--precision float32]

SRResNet x4 with random weights and the paper's nine subnets upscales an image of noise whose contrast grows from left
to right, so that Eq. 15 uses all of them. The process's peak is written beside what it had before the image.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys

import numpy as np
import torch

from wbsr_arch.supernet import Supernet
from wbsr_data.gradient import gradient_score
from wbsr_models import DynamicUpscaler, EngineSettings, Profile

PATCH, CLASSES = 32, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=1080, help="LR pixels")
    parser.add_argument("--width", type=int, default=1920, help="LR pixels")
    parser.add_argument("--memory-mb", type=float)
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--halo", type=int, help="LR pixels (default: the engine's)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    backbone = {"type": "MSRResNet", "num_feat": 64, "num_block": 16, "upscale": 4}
    supernet = Supernet(backbone, widths=[36, 52, 64], depths=[4, 8, 16]).eval()
    lr = torch.rand(3, arguments.height, arguments.width) * torch.linspace(0, 1, arguments.width)
    cuts = np.quantile(gradient_score(lr, PATCH).numpy(), np.arange(1, CLASSES) / CLASSES)
    settings = EngineSettings(halo=arguments.halo, memory_mb=arguments.memory_mb, precision=arguments.precision)
    upscaler = DynamicUpscaler(supernet, Profile(PATCH, tuple(cuts.tolist())), settings=settings)
    before = peak_megabytes()
    sr, report = upscaler(lr)
    found = {
        "sr": list(sr.shape),
        "peak_mb": peak_megabytes(),
        "before_mb": before,
        "flops_share_run": report.flops_share_run,
        "seconds": report.milliseconds / 1000,
    }
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def peak_megabytes() -> float:
    """Most physical memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
