"""`wbsr info`: what a checkpoint holds, and a table of its subnets."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbsr_arch.dynamic import DynamicNetwork
    from wbsr_arch.subnet import Subnet
    from wbsr_models.checkpoints.metadata import Metadata
    from wbsr_models.routing.profile import Profile


def main(argv: Sequence[str]) -> int:
    """Describe a WBSR checkpoint or a stock one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no checkpoint, a damaged one, one of a newer wbsr, or a number out of its range.
    """
    arguments = _parser().parse_args(list(argv))
    if arguments.size < 1:
        raise ValueError(f"--size must be at least 1, got {arguments.size}")
    from wbsr.shipped import find_weights
    from wbsr_base.devices import pick_device
    from wbsr_base.weights.files import read_weights
    from wbsr_models.checkpoints.loading import load_supernet
    from wbsr_models.checkpoints.metadata import read_metadata
    from wbsr_models.inference.timing import REPEATS, time_subnets

    path = find_weights(arguments.file)
    content = read_weights(path)
    if read_metadata(content, path) is None:
        sys.stdout.write(describe_stock(path, content))
        return 0
    supernet, metadata = load_supernet(path)
    milliseconds = None
    if arguments.time:
        device = pick_device(arguments.device)
        seconds = time_subnets(supernet.to(device), device, side=arguments.size)
        milliseconds = dict(zip(supernet.subnets, (1000 * arguments.size**2 * each for each in seconds), strict=True))
    sys.stdout.write(describe(path, content, supernet, metadata) + (_half(supernet) if arguments.half else "") + "\n")
    sys.stdout.write(table(supernet, metadata, milliseconds))
    if milliseconds is not None:
        sys.stdout.write(
            f"\nms: median of {REPEATS} runs of an LR image {arguments.size} x {arguments.size} on {device}\n"
        )
    return 0


def describe_stock(path: Path, content: Mapping[str, Any]) -> str:
    """What can be said of a checkpoint without a `wbsr` entry.

    Raises:
        ValueError: it holds no tensor, or its weights are not finite.
    """
    from wbsr_base.weights.fitting import check_finite

    groups: dict[str, Mapping[str, Any]] = {key: value for key, value in content.items() if isinstance(value, dict)}
    groups = {key: group for key, group in groups.items() if any(hasattr(value, "shape") for value in group.values())}
    lines = [f"file        {path}: a checkpoint without a `wbsr` entry"]
    for key, weights in (groups or {"(no key)": content}).items():
        check_finite(weights, str(path))
        sizes = [math.prod(weight.shape) for weight in weights.values() if hasattr(weight, "shape")]
        if not sizes:
            raise ValueError(f"weights {path} must hold tensors, at the top or under keys, got none: name another file")
        lines.append(f"{key:11} {len(sizes)} tensors, {sum(sizes):,} numbers")
    lines.append("To train it as a supernet, name it as path:pretrain_network_g of a WBSRModel.")
    return "\n".join(lines) + "\n"


def describe(path: Path, content: Mapping[str, Any], supernet: DynamicNetwork, metadata: Metadata) -> str:
    """All of a WBSR checkpoint but the table of subnets."""
    from wbsr_models.checkpoints.loading import own_policy

    profile = metadata.profile
    backbone = metadata.network["backbone"]
    arguments = ", ".join(f"{key} {value}" for key, value in backbone.items() if key != "type")
    weights = ", ".join(key for key in ("params", "params_ema") if key in content)
    lines = [
        f"file        {path}: WBSR checkpoint, version {metadata.version}, {weights}",
        f"network     {type(supernet).__name__}: {backbone['type']} x{supernet.scale} ({arguments})",
        f"routing     {own_policy(supernet, metadata).mode} by default",
        f"training    {_training(metadata.training)}",
        f"patches     {profile.patch_size} x {profile.patch_size} LR pixels",
    ]
    if profile.thresholds is None:
        lines.append("thresholds  none: train with HESPairedImageDataset or run wbsr calibrate")
    else:
        values = " ".join(f"{value:.4g}" for value in profile.thresholds)
        lines.append(f"thresholds  {len(profile.thresholds) + 1} difficulty classes, split at {values}")
    calibrated = "none: wbsr calibrate measures it" if profile.error_table is None else "measured by wbsr calibrate"
    lines.append(f"error table {calibrated}")
    lines.append(f"tiles       {_tiles(supernet)}")
    if profile.edge_table is not None:
        lines.append(f"edge table  {len(profile.edge_table.psnr)} bins, for routing arm")
    return "\n".join(lines) + "\n"


def table(supernet: DynamicNetwork, metadata: Metadata, milliseconds: Mapping[Subnet, float] | None = None) -> str:
    """One line per subnet in order of cost; PSNR where the error table is known, time where it was measured."""
    psnr = expected_psnr(metadata.profile)
    head = f"{'':>3} {'subnet':>9} {'parameters':>12} {'GFLOPs':>8} {'share':>7}"
    lines = [head + (f" {'PSNR dB':>8}" if psnr else "") + (f" {'ms':>9}" if milliseconds else "")]
    for number, subnet in enumerate(supernet.subnets):
        flops, parameters = supernet.flops[subnet] / 1e9, supernet.num_parameters[subnet]
        line = f"{number + 1:3} {subnet!s:>9} {parameters:12,} {flops:8.2f} {supernet.share(subnet):7.1%}"
        line += f" {psnr[number]:8.2f}" if psnr else ""
        lines.append(line + (f" {milliseconds[subnet]:9.1f}" if milliseconds else ""))
    if supernet.router is not None:
        parameters = sum(weight.numel() for weight in supernet.router.parameters())
        share = supernet.router_flops / supernet.flops[supernet.full]
        cost = f"{supernet.router_flops / 1e9:8.4f} {share:7.2%}"
        lines.append(f"{'classifier':>13} {parameters:12,} {cost}, on every patch beside its subnet")
    lines.append("GFLOPs: 2 x multiply-accumulates of one LR patch of 32 x 32.")
    if psnr:
        of = "RGB" if supernet.in_channels == 3 else "luma"
        lines.append(f"PSNR: {of}, of the images that wbsr calibrate measured, this subnet everywhere.")
    return "\n".join(lines) + "\n"


def expected_psnr(profile: Profile) -> list[float]:
    """The PSNR (RGB) of each subnet over the patches that `wbsr calibrate` measured; empty where it has not run."""
    if profile.error_table is None or profile.class_shares is None:
        return []
    columns = zip(*profile.error_table, strict=True)
    errors = [sum(e * share for e, share in zip(column, profile.class_shares, strict=True)) for column in columns]
    return [-10 * math.log10(error / sum(profile.class_shares)) if error > 0 else math.inf for error in errors]


def _tiles(network: DynamicNetwork) -> str:
    """Whether the full network's tiles can be exact."""
    from wbsr_arch.traits import reach
    from wbsr_models.inference.tiling import FADE

    radius = reach(network.extract(), network.in_channels)
    if radius is None:
        return "approximations with any halo: the network looks everywhere, or farther than it was followed"
    return f"exact from a halo of {radius + FADE} LR pixels on: {radius} the full network sees, {FADE} it fades over"


def _half(network: DynamicNetwork) -> str:
    """What half precision does to the full network."""
    from wbsr_arch.traits import half_error

    full = network.extract()
    errors = {name: half_error(full, name, network.in_channels) for name in ("bf16", "fp16")}
    told = [f"{name} {'overflows' if math.isinf(e) else f'{e:.2f} levels of 255'}" for name, e in errors.items()]
    return f"half        mean error on random pixels: {', '.join(told)}\n"


def _training(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return "unknown"
    kind = f"stage {training['stage']}" if "stage" in training else f"{training.get('strategy')} strategy"
    return f"{training.get('iteration')} of {training.get('total_iter')} iterations, {kind}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wbsr info", description=__doc__)
    parser.add_argument("file", help="a checkpoint, of a model of ours or a stock one, or the name of shipped weights")
    parser.add_argument("--time", action="store_true", help="measure the milliseconds of each subnet on this device")
    parser.add_argument("--half", action="store_true", help="measure the error of bf16 and fp16 on random pixels")
    parser.add_argument(
        "--size", type=int, default=128, help="with --time: side of the LR image (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="with --time: auto, cpu, cuda or cuda:N")
    return parser
