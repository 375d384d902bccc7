"""`wbsr prepare`: from a folder of HR images to what BasicSR trains on, and the lines for its option file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wbsr_data.preparation import Prepared
    from wbsr_data.preparation.target import Target

PATCH = 128  # HR pixels: the paper's training patches


def main(argv: Sequence[str]) -> int:
    """Make LR/HR pairs, and print what was made and the option lines.

    Raises:
        ValueError, OSError: see `wbsr_data.preparation.prepare`.
    """
    arguments = _parser().parse_args(list(argv))
    from wbsr_data.preparation import prepare
    from wbsr_data.preparation.recipe import CLASSSR_FACTORS, Recipe
    from wbsr_data.preparation.target import Target

    rescale = (1.0,) if arguments.rescale is None else tuple(arguments.rescale) or CLASSSR_FACTORS
    recipe = Recipe(tuple(arguments.scale), arguments.sub_images, arguments.step, rescale)
    target = Target(arguments.out, arguments.lmdb, arguments.compression)
    made = prepare(
        arguments.hr,
        target,
        recipe,
        skip_bad=arguments.skip_bad,
        overwrite=arguments.overwrite,
        workers=arguments.workers,
    )
    sys.stdout.write(summary(made, target, recipe.scales))
    return 0


def summary(made: Prepared, target: Target, scales: Sequence[int]) -> str:
    """What was made and what was skipped, and for each scale a training set for BasicSR's option file."""
    lines = [f"{len(made.shapes)} pairs in {target.out}" + (f" ({made.kept} HR files kept)" if made.kept else "")]
    if made.deep:
        lines.append(f"16 bits became 8, as BasicSR reads them: {made.deep} HR files")
    if made.skipped:
        lines += [f"skipped: {len(made.skipped)} HR files", *(f"  {reason}" for reason in made.skipped.values())]
    for scale in scales:
        lines += ["", f"# x{scale}, for an option file:", *option_lines(target, scale)]
    return "\n".join(lines) + "\n"


def option_lines(target: Target, scale: int) -> list[str]:
    """The block `datasets:train` over what was prepared, as lines of YAML."""
    from wbsr_data.preparation.recipe import HR, lr_name
    from wbsr_data.preparation.target import META

    meta = [] if target.lmdb else [f"meta_info_file: {_yaml(target.out / META)}"]
    block = [
        f"name: {_yaml(target.out.resolve().name)}",
        "type: HESPairedImageDataset   # or PairedImageDataset, without `hes`",
        f"dataroot_gt: {_yaml(target.path(HR))}",
        f"dataroot_lq: {_yaml(target.path(lr_name(scale)))}",
        *meta,
        f"io_backend: {{type: {'lmdb' if target.lmdb else 'disk'}}}",
        f"gt_size: {PATCH - PATCH % scale}",
        "use_hflip: true",
        "use_rot: true",
        "num_worker_per_gpu: 4",
        "batch_size_per_gpu: 16",
        "dataset_enlarge_ratio: 100",
        "prefetch_mode: ~",
        "hes: {num_classes: 10, delta: 0.9, thresholds: quantile, sample_level: 0.7, stride: 8}",
    ]
    return ["datasets:", "  train:", *(f"    {line}" for line in block)]


def _yaml(value: object) -> str:
    """A text for YAML, quoted where it would be read as something else."""
    import yaml

    return str(yaml.safe_dump(str(value), width=10_000, allow_unicode=True)).removesuffix("\n").removesuffix("\n...")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wbsr prepare",
        description="Make LR/HR pairs by MATLAB-style bicubic. Run the same command again to go on after a kill.",
    )
    parser.add_argument("--hr", type=Path, required=True, metavar="DIR", help="HR images; subfolders are included")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets HR, LRx2, ..., meta_info.txt")
    parser.add_argument("--scale", type=int, nargs="+", required=True, metavar="S", help="such as 2 3 4")
    parser.add_argument("--sub-images", type=int, metavar="SIDE", help="cut HR images in squares, such as 480")
    parser.add_argument("--step", type=int, help="distance of sub-images in HR pixels (default: half their side)")
    parser.add_argument(
        "--rescale",
        type=float,
        nargs="*",
        metavar="F",
        help="also shrink HR images by these factors; without numbers ClassSR's 1.0 0.9 0.8 0.7 0.6",
    )
    parser.add_argument("--lmdb", action="store_true", help="LMDBs instead of folders")
    parser.add_argument("--compression", type=int, default=1, help="of PNG, 0 (fast) to 9 (small); default 1")
    parser.add_argument("--skip-bad", action="store_true", help="skip and list images that can't be used")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in the target folders")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    return parser
