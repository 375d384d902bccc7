"""`wbsr demo`: the whole method on real photographs in minutes, through BasicSR's own training and testing.

It trains a small supernet x2 and tests it, then tests the light model x4 that ships with the package, on photographs
that neither has seen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

SCALE = 2
SHIPPED, SHIPPED_SCALE = "light_x4", 4


def main(argv: Sequence[str]) -> int:
    """Prepare the photographs, train `options/demo/train.yml`, test `test.yml` and `shipped.yml`, report.

    Raises:
        FileNotFoundError: the option files are not there.
    """
    parser = argparse.ArgumentParser(prog="wbsr demo", description="Train and test on real photographs in minutes.")
    parser.add_argument("--iterations", type=int, help="train shorter or longer than the option file says")
    arguments = parser.parse_args(list(argv))
    from wbsr import training
    from wbsr.option_files import folder
    from wbsr.shipped import find_weights
    from wbsr_lab.demo.photographs import prepare
    from wbsr_lab.demo.report import Pictures, table, write_report

    options = folder() / "demo"
    data = Path("datasets/demo")
    prepare(data, SCALE, SHIPPED_SCALE)
    overrides = []
    if arguments.iterations is not None:
        if arguments.iterations < 1:
            raise ValueError(f"--iterations must be at least 1, got {arguments.iterations}")
        overrides = ["--force_yml", f"train:total_iter={arguments.iterations}"]
        overrides.append(f"train:scheduler:periods=[{arguments.iterations}]")
    training.train(["-opt", str(options / "train.yml"), *overrides])
    training.test(["-opt", str(options / "test.yml")])
    weights = f"path:pretrain_network_g={find_weights(SHIPPED)}"
    training.test(["-opt", str(options / "shipped.yml"), "--force_yml", weights])
    trained, shipped = Path("results/demo"), Path("results/demo_shipped")
    rows = write_report(trained, "A small supernet after a few minutes of training", Pictures(data / "test", SCALE))
    sys.stdout.write(f"\nTrained just now, x{SCALE}:\n{table(rows)}\n")
    rows = write_report(shipped, "The light model that ships", Pictures(data / "shipped", SHIPPED_SCALE))
    sys.stdout.write(f"\nThe model that ships, x{SHIPPED_SCALE}:\n{table(rows)}\n")
    sys.stdout.write(f"\nPictures, plots and reports: {trained}, {shipped}\n")
    return 0
