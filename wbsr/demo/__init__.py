"""`wbsr demo`: the whole method on real photographs in minutes, through BasicSR's own training and testing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

SCALE = 2


def main(argv: Sequence[str]) -> int:
    """Prepare the photographs, train `options/demo/train.yml`, test `options/demo/test.yml`, report.

    Raises:
        FileNotFoundError: the option files are not there.
    """
    parser = argparse.ArgumentParser(prog="wbsr demo", description=__doc__)
    parser.add_argument("--iterations", type=int, help="train shorter or longer than the option file says")
    arguments = parser.parse_args(list(argv))
    options = Path(__file__).parents[2] / "options" / "demo"
    if not options.is_dir():
        raise FileNotFoundError(
            f"the option files {options} are not there: run `wbsr demo` from a clone, `pip install -e .`"
        )
    from wbsr import compat

    compat.install()
    from wbsr import training
    from wbsr.demo.photographs import prepare
    from wbsr.demo.report import table, write_report

    data = Path("datasets/demo")
    prepare(data, SCALE)
    overrides = []
    if arguments.iterations is not None:
        if arguments.iterations < 1:
            raise ValueError(f"--iterations must be at least 1, got {arguments.iterations}")
        overrides = ["--force_yml", f"train:total_iter={arguments.iterations}"]
        overrides.append(f"train:scheduler:periods=[{arguments.iterations}]")
    training.train(["-opt", str(options / "train.yml"), *overrides])
    training.test(["-opt", str(options / "test.yml")])
    out = Path("results/demo")
    rows = write_report(out, data / "test", SCALE)
    sys.stdout.write(f"\n{table(rows)}\n\nPictures, plot and report: {out}\n")
    return 0
