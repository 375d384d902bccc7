"""The plans of one image beside each other and beside dense runs, within a time limit: what `inference.py` measures on
a GPU, and with --rehearse on a CPU with a tiny network.

    stock       the full network on the whole image, NCHW, fp32, as BasicSR's SRModel.test
    dense       the full network on the whole image, channels-last, in the precision asked for, eager and compiled; the
                faster of them is the best dense run. Compiling that does not end in time is left out
    auto        ours: the plan that is predicted to be fastest; windows, tiles, ours dense: by a plan that is asked for
    patches     one patch of 32 at a time, as in ClassSR and ARM: some of them, times the number of all

A ratio is that of medians. What runs outside networks is the share of a call's time in which no network runs, by the
device's own events; `waits` are the times that the host waits for the device during a call. What does not fit into the
limit is measured less often, slow plans at one share alone.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm
from turns import Call, Clock

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.precision import dtype_of
from wbsr_models.inference.planning import Planner
from wbsr_models.inference.ready import ready
from wbsr_models.inference.report import Report
from wbsr_models.inference.settings import EngineSettings, PlanKind
from wbsr_models.inference.upscaler import DynamicUpscaler
from wbsr_models.routing.policies import Routing
from wbsr_models.routing.profile import Profile

START = time.monotonic()  # of the process, nearly
SLOW_ROUNDS = 2  # of plans that are not meant for the device
SOME_PATCHES = 48
WARM_UP = 3  # calls: the first measures and makes networks, the second captures graphs
RESERVE = 8.0  # seconds that are kept for what comes after compiling

Thresholds = Sequence[float]


@dataclass(frozen=True)
class Limit:
    """Seconds that are left of `seconds` since the process began."""

    seconds: float

    def left(self) -> float:
        return self.seconds - (time.monotonic() - START)


def compare_plans(
    supernet: DynamicNetwork,
    lr: Tensor,
    cuts: Mapping[float, Thresholds],
    some_patches: Callable[[Thresholds, int], tuple[Call, float]],
    arguments: argparse.Namespace,
    clock: Clock,
) -> list[dict[str, Any]]:
    """One row for each share of the FLOPs, as plain types.

    Args:
        supernet: with its weights, on the device.
        lr: (3, H, W), on the device.
        cuts: thresholds by share.
        some_patches: from thresholds and a number of patches to the call that runs so many one by one, and what its
            time is to be multiplied by.
        arguments: of the command.
        clock: of the device.
    """
    limit, middle = Limit(arguments.seconds), sorted(cuts)[len(cuts) // 2]

    settings = EngineSettings(halo=arguments.halo, precision=arguments.precision, capture=arguments.capture)
    cost = "latency" if arguments.rehearse else "flops"  # a CPU measures for that alone
    base = DynamicUpscaler(supernet, Profile(32), "full", settings)

    def ours(share: float, plan: PlanKind) -> DynamicUpscaler:
        """All share networks, times and graphs."""
        upscaler = base.routed(Routing("paper", cost=cost), Profile(32, tuple(cuts[share])))
        upscaler.settings = dataclasses.replace(settings, plan=plan)
        upscaler.planner = Planner(32, upscaler.settings, upscaler.network.scale)
        return upscaler

    upscalers = {(share, plan): ours(share, plan) for share in cuts for plan in get_args(Literal["auto", "windows"])}
    calls = dense_calls(supernet, lr, arguments.precision)
    calls |= {f"{plan}@{share}": functools.partial(each, lr) for (share, plan), each in upscalers.items()}
    rarely: dict[str, Call] = {
        f"ours dense@{middle}": functools.partial(ours(middle, "dense"), lr),
        f"tiles@{middle}": functools.partial(ours(middle, "tiles"), lr),
    }
    rarely[f"patches@{middle}"], of_all = some_patches(cuts[middle], SOME_PATCHES)
    warm_up([*calls.values()], limit)
    if arguments.compile and (compiled := compiled_dense(supernet, lr, arguments.precision, limit)):
        calls["dense compiled"] = compiled
    times = rounds(calls, rarely, arguments.repeats, limit, clock)
    times[f"patches@{middle}"] = [of_all * found for found in times[f"patches@{middle}"]]
    return [row_of(share, upscalers, lr, times) for share in cuts]


def row_of(
    share: float, upscalers: Mapping[tuple[float, str], DynamicUpscaler], lr: Tensor, times: Mapping[str, list[float]]
) -> dict[str, Any]:
    """All that was measured under one share."""
    auto, windows = upscalers[share, "auto"], upscalers[share, "windows"]
    report: Report = auto(lr)[1]
    found, of_windows = watched(auto, lr), watched(windows, lr)
    return {
        "lr": list(lr.shape[1:]),
        "share": share,
        "flops_share": report.flops_share,
        "flops_share_run": report.flops_share_run,
        "plan": report.plan,
        "predicted_ms": {kind: 1000 * seconds for kind, seconds in report.why.items()},
        "auto": found,
        "windows": of_windows,
        "milliseconds": {
            name.split("@")[0]: values
            for name, values in times.items()
            if values and ("@" not in name or name.endswith(f"@{share}"))
        },
    }


def dense_calls(supernet: DynamicNetwork, lr: Tensor, precision: str) -> dict[str, Call]:
    """The full network on the whole image, as BasicSR runs it and as well as it goes without compiling."""
    stock, dense = supernet.extract(), ready(supernet.extract(), precision)

    @torch.no_grad()
    def as_basicsr() -> object:
        return stock(lr[None])

    return {"stock": as_basicsr, "dense": functools.partial(dense_run, dense, lr, precision)}


@torch.inference_mode()
def dense_run(network: nn.Module, lr: Tensor, precision: str) -> Tensor:
    result: Tensor = network(lr[None].to(dtype_of(precision)).contiguous(memory_format=torch.channels_last)).float()
    return result


def warm_up(calls: Sequence[Call], limit: Limit) -> None:
    """Run all calls until networks, times, libraries and graphs are as they stay, or until the time is over."""
    for _ in range(WARM_UP):
        for call in tqdm(calls, desc="warm-up", leave=False):
            if limit.left() > RESERVE:
                call()


def compiled_dense(supernet: DynamicNetwork, lr: Tensor, precision: str, limit: Limit) -> Call | None:
    """The compiled full network on the whole image, or None where that takes too long or fails."""
    network = ready(supernet.extract(), precision)
    network.compile()
    call = functools.partial(dense_run, network, lr, precision)
    try:
        with alarm(limit.left() - RESERVE - 2):
            for _ in range(WARM_UP):
                call()
    except Exception as error:  # noqa: BLE001  whatever the compiler raises, and the alarm
        tqdm.write(f"dense compiled: left out ({type(error).__name__})")
        return None
    return call


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what runs for longer."""

    def ring(*_: object) -> None:
        raise TimeoutError

    if seconds <= 0:
        raise TimeoutError
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rounds(
    calls: Mapping[str, Call], rarely: Mapping[str, Call], repeats: int, limit: Limit, clock: Clock
) -> dict[str, list[float]]:
    """Milliseconds of calls that take turns, as often as the limit lets them, the slow ones once or twice."""
    times: dict[str, list[float]] = {name: [] for name in (*calls, *rarely)}
    for number in tqdm(range(repeats), desc="rounds", leave=False):
        for name, call in {**calls, **(rarely if number < SLOW_ROUNDS else {})}.items():
            if times["dense"] and limit.left() < RESERVE / 2:
                return times
            start = clock.now()
            call()
            times[name].append(clock.now() - start)
    return times


def watched(upscaler: DynamicUpscaler, lr: Tensor) -> dict[str, float]:
    """Of one call: the share of its time outside networks, how often the host waited, and MB of memory at the most."""
    spans = Spans(lr.device)
    run, call = upscaler.windows.captures, upscaler.runner._call
    upscaler.windows.captures = lambda *given: spans.of(run, *given)  # type: ignore[assignment,misc]
    upscaler.runner._call = lambda *given: spans.of(call, *given)  # type: ignore[method-assign]
    try:
        if lr.is_cuda:
            torch.cuda.reset_peak_memory_stats(lr.device)
        total = Spans(lr.device)
        with waits(lr.device) as counted:
            total.of(upscaler, lr)
        peak = torch.cuda.max_memory_allocated(lr.device) / 2**20 if lr.is_cuda else 0.0
    finally:
        upscaler.windows.captures, upscaler.runner._call = run, call  # type: ignore[method-assign]
    return {"outside": 1 - spans.total() / total.total(), "waits": len(counted), "peak_mb": peak}


class Spans:
    """Adds up the time that calls take on the device, without waiting for it in between."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.pairs = device, list[tuple[Any, Any]]()

    def of(self, call: Callable[..., Any], *given: Any) -> Any:
        """What a call returns; its time is added."""
        start = self._mark()
        result = call(*given)
        self.pairs.append((start, self._mark()))
        return result

    def total(self) -> float:
        """Seconds."""
        if self.device.type != "cuda":
            return float(sum(end - start for start, end in self.pairs))
        torch.cuda.synchronize(self.device)
        return float(sum(start.elapsed_time(end) for start, end in self.pairs)) / 1000

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


@contextlib.contextmanager
def waits(device: torch.device) -> Iterator[list[object]]:
    """One entry for each time that the host waits for the device, to read from it or openly."""
    counted: list[object] = []
    if device.type != "cuda":
        yield counted
        return
    openly = torch.cuda.synchronize

    def synchronize(*given: Any) -> None:
        counted.append("synchronize")
        openly(*given)

    torch.cuda.synchronize = synchronize  # type: ignore[assignment]
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield counted
        counted += [warning for warning in caught if "synchroniz" in str(warning.message)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize = openly


def table_of_plans(rows: Sequence[Mapping[str, Any]]) -> str:
    """What is told of each image and share, row by row; milliseconds, and ratios of medians."""
    head = ["LR", "FLOPs", "run", "plan", "ours ms", "predicted", "best dense", "/best dense", "/stock", "windows"]
    head += ["tiles", "patches/ours", "outside", "outside w.", "waits", "peak MB"]
    lines = [" | ".join(head)]
    for row in rows:
        ms = {name: float(np.median(values)) for name, values in row["milliseconds"].items()}
        best = min(ms[name] for name in ("dense", "dense compiled") if name in ms)
        ours, nan = ms.get("auto", np.nan), np.nan
        cells = [f"{row['lr'][0]} x {row['lr'][1]}", f"{row['flops_share']:.3f}", f"{row['flops_share_run']:.3f}"]
        cells += [row["plan"], f"{ours:.2f}", f"{row['predicted_ms'][row['plan']]:.2f}", f"{best:.2f}"]
        cells += [f"{ours / best:.3f}", f"{ours / ms.get('stock', nan):.3f}", f"{ms.get('windows', nan):.2f}"]
        cells += [f"{ms.get('tiles', nan):.2f}", f"{ms.get('patches', nan) / ours:.1f}"]
        cells += [f"{row[kind]['outside']:.3f}" for kind in ("auto", "windows")]
        cells += [f"{row['auto']['waits']}", f"{row['auto']['peak_mb']:.0f}"]
        lines.append(" | ".join(cell.rjust(len(name)) for name, cell in zip(head, cells, strict=True)))
    return "\n".join(lines)
