"""`wbsr calibrate`: measures the error table by which `budget` routing spends compute where it helps most."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wbsr_models.inference.settings import WINDOW_HALO
from wbsr_models.routing.edge_table import BINS, EdgeTable

if TYPE_CHECKING:
    from wbsr_base.pixels.bicubic import Bytes
    from wbsr_models.testing.calibration import Calibration

BUDGETS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the printed table


def main(argv: Sequence[str]) -> int:
    """Measure on HR images, write into the checkpoint, and print what budgets are expected to give.

    Raises:
        FileNotFoundError: no such checkpoint or folder.
        ValueError: no WBSR checkpoint, no image as large as a patch, `--out` is a folder, or a number out of its range.
        OSError: the checkpoint can't be written; it is as it was.
    """
    arguments = _parser().parse_args(list(argv))
    from wbsr_base.compat.saving import atomic_save
    from wbsr_base.devices import pick_device
    from wbsr_base.files import check_place
    from wbsr_base.pixels.bicubic import to_8_bits
    from wbsr_base.pixels.images import decode_pixels
    from wbsr_base.weights.files import read_weights
    from wbsr_data.sources import find_sources
    from wbsr_models.checkpoints.loading import load_supernet
    from wbsr_models.testing.calibration import CalibrationSettings, calibrate

    settings = CalibrationSettings(
        arguments.patches, arguments.images, arguments.halo, arguments.classes, arguments.seed, arguments.edge_table
    )
    sources = find_sources(arguments.hr)
    supernet, metadata = load_supernet(arguments.weights)
    out = arguments.out or arguments.weights
    check_place(out, "--out")
    supernet.to(pick_device(arguments.device))

    def load(number: int) -> Bytes:
        path = sources[number].path
        return to_8_bits(decode_pixels(path.read_bytes(), str(path)))[..., ::-1]

    found = calibrate(supernet, load, len(sources), metadata.profile, settings)
    updated = replace(metadata, profile=found.profile)
    atomic_save({**read_weights(arguments.weights), "wbsr": updated.plain()}, out)
    of = "RGB" if supernet.in_channels == 3 else "luma"
    shares = [supernet.share(subnet) for subnet in supernet.subnets]
    sys.stdout.write(summary(found, list(map(str, supernet.subnets)), shares, of))
    if arguments.edge_table and found.profile.edge_table is not None:
        sys.stdout.write(edge_summary(found.profile.edge_table, list(map(str, supernet.subnets)), of))
    sys.stdout.write(f"\nWritten to {out}; use it by `wbsr upscale --weights {out} --budget 0.6`.\n")
    return 0


def summary(found: Calibration, subnets: Sequence[str], costs: Sequence[float], of: str = "RGB") -> str:
    """The classes, and what a mean budget is expected to give on images like those measured, as two tables."""
    import numpy as np

    from wbsr_models.routing.budget import allocate, steps_by_error

    table, shares = np.array(found.profile.error_table), np.array(found.profile.class_shares)
    names = "  ".join(f"{name:>7}" for name in subnets)
    lines = [f"class  measured patches  share of all  {names}  (PSNR dB, {of})"]
    for k, row in enumerate(table):
        cells = "  ".join(f"{_psnr(error):7.2f}" for error in row)
        lines.append(f"{k + 1:5}  {found.measured[k]:16}  {shares[k]:12.1%}  {cells}")
    lines += ["", f"budget  expected PSNR dB ({of})  subnets, % of the patches"]
    counts = np.round(shares * 1e5).astype(int)
    steps = steps_by_error(table, costs)
    for budget in (each for each in BUDGETS if each >= min(costs)):
        spent = allocate(counts, steps, costs, budget)
        used = spent.sum(axis=0) / spent.sum()
        spread = ", ".join(f"{name} {share:.0%}" for name, share in zip(subnets, used, strict=True) if share >= 0.005)
        lines.append(f"{budget:6.1f}  {_psnr(float((spent * table).sum() / spent.sum())):22.3f}  {spread}")
    return "\n".join(lines) + "\n"


def edge_summary(table: EdgeTable, subnets: Sequence[str], of: str = "RGB") -> str:
    """ARM's edge table, one line a bin."""
    names = "  ".join(f"{name:>7}" for name in ("bicubic", *subnets))
    lines = ["", f"bin  edge score from  {names}  (PSNR dB, {of})"]
    for number, (start, row) in enumerate(zip((0.0, *table.bounds), table.psnr, strict=True)):
        lines.append(f"{number + 1:3}  {start:15.4f}  " + "  ".join(f"{psnr:7.2f}" for psnr in row))
    return "\n".join(lines) + "\n"


def _psnr(squared_error: float) -> float:
    return -10 * math.log10(max(squared_error, 1e-10))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wbsr calibrate", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a checkpoint of WBSRModel or ClassSRModel")
    parser.add_argument("--hr", type=Path, required=True, help="folder of HR images, such as the training set's")
    parser.add_argument("--out", type=Path, help="where the checkpoint goes with its table (default: in place)")
    parser.add_argument("--patches", type=int, default=1000, help="measure at most so many (default: %(default)s)")
    parser.add_argument("--images", type=int, default=100, help="take at most so many (default: %(default)s)")
    parser.add_argument("--halo", type=int, default=WINDOW_HALO, help="LR pixels around a patch (default: %(default)s)")
    parser.add_argument(
        "--classes", type=int, default=10, help="K, where the weights have no thresholds (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the choice of images and patches (default: %(default)s)"
    )
    parser.add_argument(
        "--edge-table",
        type=int,
        nargs="?",
        const=BINS,
        default=0,
        metavar="BINS",
        help="also measure the table of routing `arm`, on as many patches more; BINS is %(const)s if not given",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    return parser
