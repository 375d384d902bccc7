"""`wbsr upscale`: pictures in, larger pictures out, each patch by as much network as it needs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsr_models.tiling import DEFAULT_HALO

if TYPE_CHECKING:
    from wbsr.upscale.run import Outcome
    from wbsr_models.policy import Routing

_NO_PICTURE = "no picture: it must be a file, a folder or a pattern of PNG, JPEG, WebP, TIFF or BMP files"


def main(argv: Sequence[str]) -> int:
    """Upscale pictures.

    Returns:
        0, or 1 if a picture failed; the others are done, and a summary says which.

    Raises:
        FileNotFoundError, ValueError: the weights, the device, the routing or the output are wrong; nothing is written.
    """
    arguments = parser().parse_args(list(argv))
    from wbsr.shipped import find_weights
    from wbsr.upscale.jobs import find_pictures, plan_jobs
    from wbsr.upscale.run import Extras, upscale_all
    from wbsr_base.devices import pick_device
    from wbsr_models.loading import default_mode, load_supernet
    from wbsr_models.upscaler import DynamicUpscaler

    device = pick_device(arguments.device)
    pictures, nothing = find_pictures(arguments.inputs)
    jobs = plan_jobs(pictures, arguments.out, arguments.ext and f".{arguments.ext}")
    path = find_weights(arguments.weights, arguments.scale)
    supernet, metadata = load_supernet(path)
    if arguments.scale not in (None, supernet.scale):
        raise ValueError(f"--scale is {arguments.scale}, but weights {path} upscale by {supernet.scale}")
    upscaler = DynamicUpscaler(
        supernet.to(device),
        metadata.thresholds,
        metadata.patch_size,
        arguments.halo,
        _routing(arguments, default_mode(supernet, metadata)),
        arguments.tile,
        error_table=metadata.error_table,
        class_shares=metadata.class_shares,
        memory_mb=arguments.memory,
        precision=arguments.precision,
        compile=arguments.compile,
        self_ensemble=arguments.self_ensemble,
        edge_table=metadata.edge_table,
    )
    start = time.perf_counter()
    outcome = upscale_all(jobs, upscaler, Extras(arguments.map, arguments.compare, arguments.overwrite))
    outcome.failed += [{"input": text, "error": f"{text} names {_NO_PICTURE}"} for text in nothing]
    if arguments.report is not None:
        outcome.save(arguments.report, _settings(arguments, path, upscaler.routing))
    sys.stderr.write(summary(outcome, time.perf_counter() - start))
    return 1 if outcome.failed else 0


def summary(outcome: Outcome, seconds: float) -> str:
    """What was done and what failed, in lines."""
    done = outcome.done
    lines = [f"{len(done)} of {len(done) + len(outcome.failed)} pictures upscaled in {seconds:.1f} s"]
    if done:
        full = sum(image["flops_full"] for image in done)
        by_patch = sum(image["flops_full"] * image["flops_share"] for image in done) / full
        run = sum(image["flops_run"] for image in done) / full
        lines[0] += f", {by_patch:.1%} of the full network's FLOPs ({run:.1%} with halos)"
    if outcome.failed:
        lines += ["failed:", *(f"  {failure['error']}" for failure in outcome.failed)]
    return "\n".join(lines) + "\n"


def _routing(arguments: argparse.Namespace, default: str) -> Routing:
    """What the arguments ask for, or else the weights' own mode."""
    from wbsr_models.policy import Routing

    if arguments.subnet is not None and arguments.mode is not None:
        raise ValueError(f"--subnet {arguments.subnet} is a mode of its own: leave out --mode {arguments.mode}")
    implied = "budget" if arguments.budget is not None else "arm" if arguments.eta is not None else default
    mode = arguments.subnet or arguments.mode or implied
    return Routing(mode, arguments.budget, arguments.alpha, arguments.cost, arguments.budget_over, arguments.eta)


def _settings(arguments: argparse.Namespace, weights: Path, routing: Routing) -> dict[str, Any]:
    return {
        "weights": str(weights),
        "mode": routing.mode,
        "budget": routing.budget,
        "alpha": routing.alpha,
        "eta": routing.eta,
        "cost": routing.cost,
        "budget_over": routing.over,
        "device": arguments.device,
        "tile": arguments.tile,
        "halo": arguments.halo,
        "precision": arguments.precision,
        "compile": arguments.compile,
        "self_ensemble": arguments.self_ensemble,
    }


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(prog="wbsr upscale", description=__doc__)
    made.add_argument("inputs", nargs="+", metavar="INPUT", help="files, folders or quoted patterns such as 'in/*.png'")
    made.add_argument("-o", "--out", type=Path, required=True, help="a folder, or a file for one picture")
    made.add_argument("--weights", help="a checkpoint of WBSRModel or ClassSRModel, or the name of shipped weights")
    made.add_argument("--scale", type=int, help="which shipped weights to take (default: 4)")
    made.add_argument(
        "--ext", choices=("png", "jpg", "webp", "tif", "bmp"), help="format (default: each picture's own)"
    )
    made.add_argument("--overwrite", action="store_true", help="replace files that are there")
    routing = made.add_argument_group("routing: how much network each patch gets")
    routing.add_argument(
        "--budget", type=float, help="mean cost as a share of the full network's, such as 0.6 (mode budget)"
    )
    routing.add_argument(
        "--mode",
        "--routing",
        choices=("paper", "eq16", "budget", "arm", "classsr", "full"),
        help="paper: Eq. 15; eq16: Eq. 16; budget: least error for --budget; arm: ARM's rule for --eta; classsr: by "
        "the classifier of a ClassSR; full: no routing (default: classsr for a ClassSR, else paper)",
    )
    routing.add_argument("--subnet", help="one subnet for everything, such as w36d4")
    routing.add_argument("--alpha", type=float, help="of mode eq16; more spends more (default: 1)")
    routing.add_argument(
        "--eta", type=float, help="of mode arm; what one dB is worth, as a share of the full network's cost"
    )
    routing.add_argument(
        "--cost", choices=("flops", "latency"), default="flops", help="what a budget counts (default: %(default)s)"
    )
    routing.add_argument(
        "--budget-over",
        choices=("image", "set"),
        default="image",
        help="keep it on every image, or on average over images like those of calibration (default: %(default)s)",
    )
    running = made.add_argument_group("running")
    running.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    running.add_argument("--tile", type=int, default=256, help="largest joined tile, LR pixels (default: %(default)s)")
    running.add_argument(
        "--halo", type=int, default=DEFAULT_HALO, help="LR pixels around a tile (default: %(default)s)"
    )
    running.add_argument("--memory", type=float, help="MB for batches and result (default: by the device)")
    running.add_argument(
        "--precision",
        choices=("float32", "bf16", "fp16"),
        default="float32",
        help="of the networks; bf16 is fast on CPUs that know it, fp16 on GPUs alone (default: %(default)s)",
    )
    running.add_argument(
        "--compile", action="store_true", help="run the networks through torch.compile; slower on a CPU, see the docs"
    )
    running.add_argument(
        "--self-ensemble", action="store_true", help="mean over 8 flips and turns, at 8 times the cost"
    )
    showing = made.add_argument_group("showing what was done")
    showing.add_argument("--map", action="store_true", help="also write NAME_subnets.png and NAME_scores.png")
    showing.add_argument("--compare", action="store_true", help="also write NAME_compare.png, bicubic beside SR")
    showing.add_argument("--report", type=Path, help="write sizes, subnets, FLOPs and milliseconds to this JSON file")
    return made
