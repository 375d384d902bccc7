"""`wbsr analyze`: the imbalance of a set of images, and of a trained network's errors over it, as PNG and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsr.routing_arguments import add_routing_arguments, policy_of

if TYPE_CHECKING:
    from wbsr_lab.analyze.pairs import Pairs


def main(argv: Sequence[str]) -> int:
    """Analyse, write `analysis.json` and the figures, and print the numbers in short.

    Raises:
        FileNotFoundError, ValueError, TypeError: images, options, weights or numbers that can't be used.
    """
    arguments = _parser().parse_args(list(argv))
    from wbsr_lab.analyze import figures, imbalance, quality

    pairs = _pairs(arguments)
    found = imbalance.describe(pairs, arguments.levels and tuple(arguments.levels))
    if arguments.weights is not None:
        from wbsr_base.devices import pick_device
        from wbsr_models.checkpoints.loading import load_supernet, own_policy
        from wbsr_models.inference.upscaler import DynamicUpscaler

        network, metadata = load_supernet(arguments.weights)
        if network.in_channels != 3:
            raise ValueError(
                f"--weights {arguments.weights} take {network.in_channels} channels, but errors are measured on RGB: "
                "leave out --weights"
            )
        policy = policy_of(arguments, own_policy(network, metadata))
        upscaler = DynamicUpscaler(network.to(pick_device(arguments.device)), metadata.profile, policy)
        measured = quality.measure_classes(pairs, upscaler, arguments.samples, arguments.error_level)
        found["quality"] = {
            "weights": str(arguments.weights),
            "routing": {"mode": policy.mode, **asdict(policy)},
            "samples": arguments.samples,
            "error_level": arguments.error_level,
            "methods": measured,
        }
    pixels, found["mixture"] = imbalance.fit_pixels(pairs)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "analysis.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    figures.draw_scores(found, out / "scores.png")
    figures.draw_levels(found, out / "levels.png")
    figures.draw_classes(found, out / "classes.png")
    figures.draw_examples(pairs, out / "examples.png")
    figures.draw_mixture(found, pixels, out / "mixture.png")
    if "quality" in found:
        figures.draw_quality(found, out / "quality.png")
    sys.stdout.write(_summary(found, out))
    return 0


def _pairs(arguments: argparse.Namespace) -> Pairs:
    from wbsr_lab.analyze.pairs import DatasetPairs, FolderPairs

    if arguments.opt is None:
        from wbsr_data.hes.options import HESOptions

        if arguments.scale < 2 or arguments.patch < 1:
            raise ValueError(
                f"--scale must be at least 2 and --patch at least 1, got {arguments.scale} and {arguments.patch}"
            )
        hes = HESOptions(
            num_classes=arguments.classes,
            thresholds=arguments.thresholds,
            delta=arguments.delta,
            stride=arguments.stride,
        )
        return FolderPairs(arguments.hr, arguments.scale, arguments.patch, hes)
    from wbsr.checks.source import read_options

    opt = read_options(arguments.opt)
    block = (opt.get("datasets") or {}).get("train")
    if not isinstance(block, dict) or not isinstance(opt.get("scale"), int):
        raise ValueError(f"the option file {arguments.opt} must have a scale and datasets:train, which are analysed")
    return DatasetPairs(block, opt["scale"])


def _summary(found: dict[str, Any], out: Path) -> str:
    classes, levels = found["classes"], found["levels"]
    lines = [f"{found['candidates']} candidate patches of {found['images']} images, {len(found['skipped'])} skipped"]
    lines += [f"  {name}: {reason}" for name, reason in found["skipped"].items()]
    shares = ", ".join(
        f"{level} {share:.1%} ({levels['paper'][level]:.1%})" for level, share in levels["share"].items()
    )
    lines += [f"level (the paper's share on DIV2K): {shares}", ""]
    head = "class  patches  uniform %  class-level %  times"
    methods = found.get("quality", {}).get("methods", {})
    lines.append(head + "".join(f"  {method} dB" for method in methods))
    for k, count in enumerate(classes["count"]):
        before, after = 100 * classes["share_uniform"][k], 100 * classes["share_class_level"][k]
        row = f"{k + 1:5}  {count:7}  {before:9.2f}  {after:13.2f}  {classes['repeat'][k]:5.2f}"
        for method, each in methods.items():
            psnr = each["psnr_y"][k]
            row += f"  {'-' if psnr is None else format(psnr, '.2f'):>{len(method) + 3}}"
        lines.append(row)
    return "\n".join([*lines, "", f"figures and analysis.json: {out}"]) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wbsr analyze", description="Show the imbalance of a training set, and of a network's errors over it."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--hr", type=Path, metavar="DIR", help="HR images; LR images are made by bicubic in memory")
    source.add_argument("--opt", type=Path, metavar="FILE", help="option file: its datasets:train, with the block hes")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets analysis.json and the figures")
    folder = parser.add_argument_group("with --hr")
    folder.add_argument("--scale", type=int, default=4, help="of the LR images (default 4)")
    folder.add_argument("--patch", type=int, default=32, metavar="SIDE", help="LR patch in pixels (default 32)")
    folder.add_argument("--classes", type=int, default=10, metavar="K", help="difficulty classes (default 10)")
    folder.add_argument(
        "--thresholds",
        choices=("quantile", "linear"),
        default="quantile",
        help="classes of equal size, or of equal width in score (default quantile)",
    )
    folder.add_argument("--delta", type=float, default=0.9, help="δ of Eq. 8 (default 0.9)")
    folder.add_argument("--stride", type=int, default=8, help="distance of candidates in LR pixels (default 8)")
    parser.add_argument(
        "--levels",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="scores between easy, medium and hard (default 0.075 0.14, of the score `norm`)",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="WBSR checkpoint: PSNR and error pixels by class")
    add_routing_arguments(parser.add_argument_group("with --weights: how `dynamic` routes"))
    parser.add_argument("--samples", type=int, default=64, help="patches of each class to upscale (default 64)")
    parser.add_argument(
        "--error-level", type=float, default=10.0, help="luma levels of 255 from which a pixel is an error (default 10)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    return parser
