"""`wbsr upscale`: pictures in, larger pictures out, each patch by as much network as it needs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsr.routing_arguments import add_routing_arguments, asked_mode, policy_of
from wbsr_base import quickly
from wbsr_base.options import add_arguments, from_arguments, help_of
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.routing.by_budget import Budget
from wbsr_models.routing.fixed import Fixed
from wbsr_models.routing.policies import DEFAULT_BUDGET, told
from wbsr_models.routing.policy import Policy

if TYPE_CHECKING:
    from wbsr.upscale.run import Outcome
    from wbsr_models.inference.upscaler import DynamicUpscaler

QUALITIES: dict[str, Policy] = {"fast": Budget(0.4), "balanced": Budget(DEFAULT_BUDGET), "best": Fixed()}


def main(argv: Sequence[str]) -> int:
    """Upscale pictures.

    Returns:
        0, or 1 if a picture failed; the others are done, and a summary says which.

    Raises:
        FileNotFoundError, ValueError: the weights, the device, the routing or the output are wrong; nothing is written.
        OSError: the report can't be written.
    """
    arguments = parser().parse_args(list(argv))
    with quickly.importing():
        import wbsr.plugin  # noqa: F401  what loading weights would import
        from wbsr.shipped import find_weights
        from wbsr.upscale.jobs import COMPARISON, MAPS, SCORES, check_report, find_pictures, plan_jobs
        from wbsr.upscale.overlays import has_score_map
        from wbsr.upscale.picture import check_channels
        from wbsr.upscale.precision import pick_precision
        from wbsr.upscale.run import Handling, make_folder_of, upscale_all
        from wbsr_base.devices import pick_device
        from wbsr_models.checkpoints.loading import load_supernet, own_policy
        from wbsr_models.inference.upscaler import DynamicUpscaler

    device = pick_device(arguments.device)
    pictures, nothing = find_pictures(arguments.inputs, arguments.recursive, arguments.out)
    kinds = (*(MAPS if arguments.map else ()), *((COMPARISON,) if arguments.compare else ()))
    jobs = plan_jobs(pictures, arguments.out, arguments.ext and f".{arguments.ext}", kinds)
    path = find_weights(arguments.weights, arguments.scale)
    if arguments.report is not None:
        check_report(arguments.report, jobs, path, arguments.overwrite)
    network, metadata = load_supernet(path)
    if arguments.scale not in (None, network.scale):
        raise ValueError(f"--scale is {arguments.scale}, but weights {path} upscale by {network.scale}")
    check_channels(network.in_channels)
    policy = policy_of(arguments, _asked_quality(arguments) or own_policy(network, metadata))
    if arguments.flat is None:
        policy = replace(policy, flat=True)
    if arguments.precision == "auto":
        arguments.precision = pick_precision(network, device)
    settings = from_arguments(EngineSettings, arguments)
    upscaler = DynamicUpscaler(network.to(device), metadata.profile, policy, settings)
    if arguments.map and not has_score_map(upscaler):
        sys.stderr.write(f"--map: routing {policy.mode} gives a patch no single score: NAME_{SCORES}.png is left out\n")
        jobs = [replace(job, kinds=tuple(kind for kind in job.kinds if kind != SCORES)) for job in jobs]
    if arguments.report is not None:
        make_folder_of(arguments.report)
    start = time.perf_counter()
    handling = Handling(arguments.overwrite, arguments.frame, arguments.wrap)
    outcome = upscale_all(jobs, upscaler, handling)
    outcome.failed += [{"input": text, "error": why} for text, why in nothing.items()]
    sys.stderr.write(summary(outcome, time.perf_counter() - start, told(policy)))
    if arguments.report is not None:
        outcome.save(arguments.report, _settings(arguments, path, upscaler))
    return 1 if outcome.failed else 0


def summary(outcome: Outcome, seconds: float, routing: str) -> str:
    """What was done, by which routing, and what failed, in lines."""
    done = outcome.done
    lines = [f"{len(done)} of {len(done) + len(outcome.failed)} pictures upscaled in {seconds:.1f} s"]
    if done:
        full = sum(image["flops_full"] for image in done)
        by_patch = sum(image["flops_full"] * image["flops_share"] for image in done) / full
        run = sum(image["flops_run"] for image in done) / full
        lines[0] += f", routing {routing}: {by_patch:.1%} of the full network's FLOPs ({run:.1%} with halos)"
    if outcome.failed:
        lines += ["failed:", *(f"  {failure['error']}" for failure in outcome.failed)]
    return "\n".join(lines) + "\n"


def _asked_quality(arguments: argparse.Namespace) -> Policy | None:
    if arguments.quality is None:
        return None
    other = asked_mode(arguments)
    if other is not None:
        raise ValueError(f"--quality {arguments.quality} is a routing of its own, and so is `{other}`: leave out one")
    return QUALITIES[arguments.quality]


def _settings(arguments: argparse.Namespace, weights: Path, upscaler: DynamicUpscaler) -> dict[str, Any]:
    """What the report says of how its pictures were made."""
    policy = {"mode": upscaler.policy.mode, **asdict(upscaler.policy)}
    handling = {name: getattr(arguments, name) for name in ("device", "frame", "wrap")}
    return {"weights": str(weights), **policy, **handling, **asdict(upscaler.settings)}


def _text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must name a file or a folder, got an empty text; the current folder is .")
    return text


def _path(text: str) -> Path:
    return Path(_text(text))


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(prog="wbsr upscale", description=__doc__)
    made.add_argument(
        "inputs", nargs="+", type=_text, metavar="INPUT", help="files, folders or quoted patterns such as 'in/*.png'"
    )
    made.add_argument("-o", "--out", type=_path, required=True, help="a folder, or a file for one picture")
    made.add_argument("--weights", help="a checkpoint of WBSRModel or ClassSRModel, or the name of shipped weights")
    made.add_argument("--scale", type=int, help="which shipped weights to take (default: 4)")
    made.add_argument(
        "--quality",
        choices=tuple(QUALITIES),
        help=f"a routing in one word: {', '.join(f'{name} ({told(policy)})' for name, policy in QUALITIES.items())}; "
        f"the default is budget {DEFAULT_BUDGET} where `wbsr calibrate` has measured the weights, as the shipped ones",
    )
    made.add_argument(
        "--ext", choices=("png", "jpg", "webp", "tif", "bmp"), help="format (default: each picture's own)"
    )
    made.add_argument("--recursive", action="store_true", help="also the pictures in subfolders; the tree is mirrored")
    made.add_argument("--frame", type=int, metavar="N", help="which of several pages or moving pictures, from 1")
    made.add_argument(
        "--wrap",
        choices=("none", "x", "y", "both"),
        default="none",
        help="borders that meet, as those of tiled textures: left and right (x), top and bottom (y) (default: none)",
    )
    made.add_argument("--overwrite", action="store_true", help="replace files that are there")
    add_routing_arguments(made.add_argument_group("routing: how much network each patch gets"))
    running = made.add_argument_group("running")
    running.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    running.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help=f"{help_of(EngineSettings)['precision']} (default: auto, fp16 on CUDA where it costs nothing, else fp32)",
    )
    flags = {"max_tile": "--tile", "memory_mb": "--memory"}
    add_arguments(running, EngineSettings, flags, leave_out=["precision"])
    running.add_argument(
        "--compile", dest="capture", action="store_const", const="compile", help="the same as --capture compile"
    )
    showing = made.add_argument_group("showing what was done")
    showing.add_argument("--map", action="store_true", help="also write NAME_subnets.png and NAME_scores.png")
    showing.add_argument("--compare", action="store_true", help="also write NAME_compare.png, bicubic beside SR")
    showing.add_argument("--report", type=_path, help="write sizes, subnets, FLOPs and milliseconds to this JSON file")
    return made
