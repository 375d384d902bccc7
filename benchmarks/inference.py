"""How long dynamic inference takes beside its rivals: the table of docs/findings/speed.md.

    python benchmarks/inference.py --images DIR [--weights W | --arch SRResNet] [--results FILE] [--shares 0.5 0.6 0.8]

DIR holds HR images, of which LR images are made by MATLAB's bicubic. With --arch the weights are random and the subnets
the paper's nine: time doesn't depend on the values. Each share of FLOPs is reached by Eq. 15 with ten classes, whose
thresholds are quantiles of the images' own scores, so that the maps are those of real images.

Rivals, all with the same weights and in the same process, taking turns:
    stock       the full network on the whole image, NCHW, as BasicSR's SRModel.test
    dense       the best dense variant: channels-last, inference mode, kept memory blocks
    dense_bf16  the same in bf16
    patches     routed, one patch of 32 at a time with a stride of 28, overlaps averaged, as in ClassSR and ARM
    one_size    routed, tiles of one patch with a halo, batched by subnet
    ours        routed, tiles joined
The floor is Σ n_m t_m: LR pixels under subnet m times its time per pixel in its best window, without a halo.
`--without` leaves rivals out: bf16 where a CPU has to emulate it, and what takes long.

All calls take turns, those of the floor too, and a ratio is the median of the turns' own ratios, after a warm-up: what
else the machine does slows both sides of it. `--clock cpu` counts the process's CPU time, for machines that others use
too: give it `--threads 1`.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import as_tensor, image_files, read_hr
from plans import compare_plans, table_of_plans
from torch import Tensor, nn
from tqdm import tqdm
from turns import Call, Clock, Turns

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_arch.supernet import Supernet
from wbsr_base.devices import keep_freed_blocks
from wbsr_base.pixels.bicubic import crop_to_multiple, resize
from wbsr_base.precision import dtype_of
from wbsr_data.gradient import gradient_score
from wbsr_models.checkpoints.loading import load_supernet
from wbsr_models.inference.ready import ready
from wbsr_models.inference.report import Report
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.upscaler import DynamicUpscaler
from wbsr_models.inference.workers import cores
from wbsr_models.routing.equations import route_by_class
from wbsr_models.routing.profile import Profile

PATCH, STRIDE, CLASSES = 32, 28, 10
BACKBONE = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "upscale": 4}
SUPERNETS: dict[str, dict[str, Any]] = {
    "SRResNet": {"backbone": {"type": "MSRResNet", "num_block": 16, **BACKBONE}, "depths": [4, 8, 16]},
    "RCAN": {"backbone": {"type": "RCAN", "num_group": 10, "num_block": 20, **BACKBONE}, "depths": [5, 10, 20]},
}
TINY: dict[str, Any] = {
    "backbone": {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 4},
    "depths": [1, 2],
}
OPTIONAL = {"floor": [], "patches": ["patches"], "one_size": ["one_size"], "bf16": ["dense_bf16", "ours_bf16"]}
RATIOS = {
    "/stock": ("ours", "stock"),
    "/dense": ("ours", "dense"),
    "/floor": ("ours", "floor"),
    "patches/ours": ("patches", "ours"),
    "one size/ours": ("one_size", "ours"),
    "full/dense": ("ours_full", "dense"),
    "bf16/dense bf16": ("ours_bf16", "dense_bf16"),
}
FLOOR_WINDOWS = ((4, 32), (1, 64), (1, 96), (1, 128))  # batch, side: what a subnet's best time is sought among


class Stopwatch(nn.Module):
    """A network that notes the times it runs, in whatever thread."""

    def __init__(self, network: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.network, self.clock = network, clock
        self.times: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        start = self.clock.now()
        y: Tensor = self.network(x)
        self.times.append(self.clock.now() - start)
        return y


def read_lr(folder: Path, scale: int, limit: int, max_side: int, long_side: int | None = None) -> list[Tensor]:
    """The LR images (3, H, W) of the largest HR images in a folder, or these made `long_side` pixels long."""
    largest = sorted(image_files(folder), key=lambda path: -path.stat().st_size)[:limit]
    return [_lr(path, scale, max_side, long_side) for path in tqdm(largest, desc="reading", unit="image", leave=False)]


def _lr(path: Path, scale: int, max_side: int, long_side: int | None) -> Tensor:
    hr = crop_to_multiple(read_hr(path), scale)[: max_side * scale, : max_side * scale]
    return as_tensor(resize(hr, long_side / max(hr.shape) if long_side else 1 / scale)) / 255


def thresholds_for(share: float, images: Sequence[Tensor], supernet: DynamicNetwork) -> list[float]:
    """Thresholds under which Eq. 15 spends `share` of the FLOPs on these images: quantiles (k/K)^γ, γ bisected."""
    scores = np.concatenate([gradient_score(image, PATCH).cpu().numpy().ravel() for image in images])
    shares = np.array([supernet.share(subnet) for subnet in supernet.subnets])
    low, high = -6.0, 6.0  # log of γ; a larger γ lowers the thresholds, so that more patches are hard
    for _ in range(40):
        middle = (low + high) / 2
        cuts = np.quantile(scores, (np.arange(1, CLASSES) / CLASSES) ** np.exp(middle))
        classes = 1 + np.searchsorted(cuts, scores, side="right")
        found = shares[route_by_class(classes, CLASSES, len(shares))].mean()
        low, high = (middle, high) if found < share else (low, middle)
    return [float(cut) for cut in cuts]


def one_patch_at_a_time(
    networks: Sequence[nn.Module], lr: Tensor, route: Callable[[float], int], scale: int, most: int | None = None
) -> Tensor:
    """ClassSR's and ARM's way: score, route and run each patch by itself, average the overlaps; of `most` patches."""
    height, width = lr.shape[1:]
    total, count = lr.new_zeros(3, height * scale, width * scale), lr.new_zeros(1, height * scale, width * scale)
    for top, left in list(itertools.product(_starts(height), _starts(width)))[:most]:
        patch = lr[:, top : top + PATCH, left : left + PATCH]
        subnet = route(float(gradient_score(patch, PATCH)))
        with torch.no_grad():
            output = networks[subnet](patch[None].contiguous())[0]
        where = (
            slice(None),
            slice(top * scale, (top + PATCH) * scale),
            slice(left * scale, (left + PATCH) * scale),
        )
        total[where] += output
        count[where] += 1
    return total / count


def some_patches(
    networks: Sequence[nn.Module], lr: Tensor, scale: int, thresholds: Sequence[float], most: int
) -> tuple[Call, float]:
    """The call that runs up to `most` patches one at a time, and what its time is to be multiplied by."""
    number = len(_starts(lr.shape[1])) * len(_starts(lr.shape[2]))
    route = functools.partial(_route, thresholds, len(networks))
    call = functools.partial(one_patch_at_a_time, networks, lr, route, scale, most)
    return call, number / min(most, number)


def _route(thresholds: Sequence[float], subnets: int, score: float) -> int:
    return int(route_by_class(1 + np.searchsorted(thresholds, score, side="right"), CLASSES, subnets))


def _starts(length: int) -> list[int]:
    return sorted({*range(0, max(length - PATCH, 0), STRIDE), max(length - PATCH, 0)})


def fixed_calls(supernet: DynamicNetwork, lr: Tensor, halo: int | None) -> dict[str, Call]:
    """The runs that no share changes: dense ones, and ours with everything routed to the full network."""
    stock, dense, half = supernet.extract(), ready(supernet.extract()), ready(supernet.extract(), "bf16")
    ours = DynamicUpscaler(supernet, PATCH, "full", EngineSettings(halo=halo))

    @torch.inference_mode()
    def run(network: nn.Module, dtype: torch.dtype) -> object:
        return network(lr[None].to(dtype).contiguous(memory_format=torch.channels_last)).float()

    @torch.no_grad()
    def as_basicsr() -> object:
        return stock(lr[None])

    return {
        "stock": as_basicsr,
        "dense": lambda: run(dense, torch.float32),
        "dense_bf16": lambda: run(half, dtype_of("bf16")),
        "ours_full": lambda: ours(lr),
    }


def routed_calls(
    joined: DynamicUpscaler, lr: Tensor, thresholds: list[float], stock: Sequence[nn.Module]
) -> dict[str, Call]:
    """The runs under one share; `joined` is ours, `stock` are the subnets as BasicSR builds them."""
    supernet, profile, halo = joined.network, joined.profile, joined.settings.halo
    route = functools.partial(_route, thresholds, len(stock))
    apart = DynamicUpscaler(supernet, profile, settings=EngineSettings(plan="tiles", halo=halo, max_tile=PATCH))
    half = DynamicUpscaler(supernet, profile, settings=EngineSettings(halo=halo, precision="bf16"))
    return {
        "patches": lambda: one_patch_at_a_time(stock, lr, route, supernet.scale),
        "one_size": lambda: apart(lr),
        "ours": lambda: joined(lr),
        "ours_bf16": lambda: half(lr),
    }


class Floor:
    """What the patches would cost, each under its subnet in that subnet's best window, without a halo."""

    def __init__(self, supernet: DynamicNetwork, device: torch.device) -> None:
        networks = [ready(supernet.extract(subnet)) for subnet in supernet.subnets]
        windows = [torch.rand(batch, 3, side, side, device=device) for batch, side in FLOOR_WINDOWS]
        windows = [window.contiguous(memory_format=torch.channels_last) for window in windows]

        @torch.inference_mode()
        def run(network: nn.Module, window: Tensor) -> object:
            return network(window)

        self.calls = {
            f"floor {m} {w}": functools.partial(run, network, window)
            for m, network in enumerate(networks)
            for w, window in enumerate(windows)
        }
        self._pixels = np.array([[batch * side**2] for batch, side in FLOOR_WINDOWS])
        self._subnets = len(networks)

    def per_pixel(self, times: dict[str, Turns]) -> list[Turns]:
        """t_m: milliseconds per LR pixel of each subnet in each turn, in the window that is best over all turns."""
        best = []
        for m in range(self._subnets):
            by_window = np.array([times[f"floor {m} {w}"] for w in range(len(FLOOR_WINDOWS))]) / self._pixels
            best.append(by_window[np.median(by_window, axis=1).argmin()])
        return best


def watched_run(upscaler: DynamicUpscaler, lr: Tensor, clock: Clock) -> tuple[Report, float]:
    """What a run does of an upscaler that has run before, and the share of its time that is spent outside networks.

    Where tiles run side by side, each thread's time counts.
    """
    networks = upscaler.pool._ready
    watches = {key: Stopwatch(network, clock) for key, network in networks.items()}
    networks.update(watches)
    start = clock.now()
    _, report = upscaler(lr)
    total = clock.now() - start
    threads = cores(clock.device) if report.plan == "tiles" else 1
    return report, 1 - sum(sum(watch.times) for watch in watches.values()) / (threads * total)


def compare(
    supernet: DynamicNetwork, images: list[Tensor], arguments: argparse.Namespace, clock: Clock
) -> list[dict[str, Any]]:
    """All that is measured, as plain types."""
    cuts = {share: thresholds_for(share, images, supernet) for share in arguments.shares}
    floor = None if "floor" in arguments.without else Floor(supernet, clock.device)
    left_out = {name for rival in arguments.without for name in OPTIONAL[rival]}
    stock = [supernet.extract(subnet) for subnet in supernet.subnets]
    rows = []
    for lr in tqdm(images, desc="images", unit="image", leave=False):
        fixed = _without(left_out, fixed_calls(supernet, lr, arguments.halo))
        calls: dict[str, Call] = {**(floor.calls if floor else {}), **fixed}
        settings = EngineSettings(halo=arguments.halo)
        ours = {
            share: DynamicUpscaler(supernet, Profile(PATCH, tuple(cut)), settings=settings)
            for share, cut in cuts.items()
        }
        routed = {
            share: _without(left_out, routed_calls(ours[share], lr, thresholds, stock))
            for share, thresholds in cuts.items()
        }
        calls |= {f"{name}@{share}": call for share, some in routed.items() for name, call in some.items()}
        times = clock.run(calls, arguments.repeats)
        per_pixel = floor.per_pixel(times) if floor else None
        for share in cuts:
            report, outside = watched_run(ours[share], lr, clock)
            turns = {name: times[name] for name in fixed} | {name: times[f"{name}@{share}"] for name in routed[share]}
            if per_pixel is not None:
                choice = np.kron(report.choice, np.ones((PATCH, PATCH), np.int64))[: lr.shape[1], : lr.shape[2]]
                turns["floor"] = sum(np.count_nonzero(choice == m) * t for m, t in enumerate(per_pixel))
            row: dict[str, Any] = {"lr": list(lr.shape[1:]), "flops_share": report.flops_share}
            row["flops_share_run"] = report.flops_share_run
            row["overhead"] = outside
            row["milliseconds"] = {name: found.tolist() for name, found in turns.items()}
            rows.append(row)
    return rows


def _without(names: set[str], calls: dict[str, Call]) -> dict[str, Call]:
    return {name: call for name, call in calls.items() if name not in names}


def environment(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {name: value.name if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    return {
        "torch": torch.__version__,
        "machine": _machine(arguments.device),
        "load": os.getloadavg(),
        "arguments": given,
    }


def _machine(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.machine()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """What is told of each image and share, row by row."""
    there = rows[0]["milliseconds"].keys()
    ratios = {title: pair for title, pair in RATIOS.items() if there >= set(pair)}
    head = ["FLOPs", "run", "overhead", *ratios]
    lines = [" | ".join(head)]
    for row in rows:
        turns = {name: np.array(found) for name, found in row["milliseconds"].items()}
        cells = [row["flops_share"], row["flops_share_run"], row["overhead"]]
        cells += [float(np.median(turns[name] / turns[other])) for name, other in ratios.values()]
        lines.append(" | ".join(f"{cell:.3f}".rjust(len(name)) for name, cell in zip(head, cells, strict=True)))
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--images", type=Path, required=True, help="folder of HR images; the largest files are taken")
    made.add_argument("--weights", type=Path, help="a WBSR checkpoint")
    made.add_argument("--arch", choices=SUPERNETS, default="SRResNet", help="with random weights, if no --weights")
    made.add_argument("--shares", type=float, nargs="+", help="of the full FLOPs (default: 0.5 0.6 0.8)")
    made.add_argument("--halo", type=int, help="LR pixels (default: the engine's)")
    made.add_argument("--limit", type=int, default=3, help="images")
    made.add_argument("--max-side", type=int, default=10**6, help="LR pixels that images are cut to")
    made.add_argument(
        "--long-side", type=int, help="of the LR images in pixels; 510 makes 2K of them (default: HR / 4)"
    )
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    made.add_argument("--without", nargs="+", choices=OPTIONAL, default=[], help="what to leave out, on a CPU")
    made.add_argument("--device", default="cpu")
    made.add_argument("--results", type=Path, help="JSON file")
    plans = made.add_argument_group("on a GPU")
    plans.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp16")
    plans.add_argument("--capture", choices=["auto", "none", "graphs", "compile"], default="auto")
    plans.add_argument("--seconds", type=float, default=48.0, help="that the process may live, nearly")
    plans.add_argument("--no-compile", dest="compile", action="store_false", help="leave compiled dense runs out")
    plans.add_argument("--rehearse", action="store_true", help="on a CPU, with a tiny network and a small image")
    return made


def main() -> None:
    arguments = parser().parse_args()
    if arguments.rehearse:
        arguments.max_side, arguments.limit, arguments.precision, arguments.compile = 150, 1, "fp32", False
    arguments.shares = arguments.shares or [0.5, 0.6, 0.8]
    torch.set_num_threads(arguments.threads)
    keep_freed_blocks()
    if arguments.weights:
        supernet = load_supernet(arguments.weights)[0]
    else:
        options, widths = (TINY, [4, 8]) if arguments.rehearse else (SUPERNETS[arguments.arch], [36, 52, 64])
        supernet = Supernet(**options, widths=widths).eval()
    device = torch.device(arguments.device)
    sizes = (arguments.limit, arguments.max_side, arguments.long_side)
    images = [lr.to(device) for lr in read_lr(arguments.images, supernet.scale, *sizes)]
    supernet.to(device)
    now = time.perf_counter if arguments.clock == "wall" else time.process_time
    clock = Clock(now, device)
    if device.type == "cuda" or arguments.rehearse:
        cuts = {share: thresholds_for(share, images[:1], supernet) for share in arguments.shares}
        stock = [supernet.extract(subnet) for subnet in supernet.subnets]
        patches = functools.partial(some_patches, stock, images[0], supernet.scale)
        rows = compare_plans(supernet, images[0], cuts, patches, arguments, clock)
        text = table_of_plans(rows)
    else:
        rows = compare(supernet, images, arguments, clock)
        text = table(rows)
    found = {"environment": environment(arguments), "rows": rows}
    if arguments.results:
        arguments.results.write_text(json.dumps(found, indent=2), encoding="utf-8")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
