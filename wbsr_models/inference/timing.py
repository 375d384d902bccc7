"""Times network calls on the device at hand, by the shapes and batches that plans are made of.

Each kind of call is timed at a few sizes: batches of windows of each side, and dense runs. Small sizes come first; one
that would overrun what is left of the time is left out, and the curves go on there as straight lines. Subnets take
turns, so that what else the device does meets all of them.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.devices import keep_freed_blocks, seconds_at
from wbsr_base.precision import dtype_of
from wbsr_models.inference.capture import Graphs, Run
from wbsr_models.inference.costs import SIDES, CostModel, Curves, costs_by_work
from wbsr_models.inference.curve import Curve
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.ready import ready

REPEATS = 5
SECONDS = 20.0  # that a measurement may take, but for what compiling takes

_DENSE_CPU, _DENSE_GPU = (64, 128, 256), (64, 256, 640)  # LR pixels of the sides of images
_BATCHES_CPU, _BATCHES_GPU = (2**11, 2**13), (2**12, 2**15, 2**17)  # LR pixels of batches of windows
_PAYS = 0.97  # of the time without one, from which on a graph is captured

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


@dataclass(frozen=True)
class Shape:
    """Calls on `batch` windows of side x side LR pixels; `patches` along the side of a window, 0 for a dense run."""

    patches: int
    side: int
    batch: int = 1

    @property
    def pixels(self) -> int:
        return self.batch * self.side**2


Times = dict[Shape, list[float]]  # seconds of a call, of each subnet


def time_subnets(
    network: DynamicNetwork, device: torch.device, precision: str = "fp32", side: int = 64
) -> tuple[float, ...]:
    """Seconds per LR pixel of each subnet on one image of side x side LR pixels, medians of five runs, all above 0."""
    networks = [ready(network.extract(subnet).to(device), precision) for subnet in network.subnets]
    window = _batch(Shape(0, side), network.in_channels, device, precision)
    return tuple(seconds / side**2 for seconds in _seconds(networks, window, math.inf))


def time_calls(
    pool: NetworkPool, device: torch.device, patch_size: int, max_pixels: float = math.inf, limit: float = SECONDS
) -> CostModel:
    """The costs of all calls, measured now. It is announced, and shows its progress.

    Args:
        pool: the networks as they are to run; of compiled ones the full network speaks for all.
        device: where they run.
        patch_size: LR pixels.
        max_pixels: LR pixels of the largest batch that fits into the memory.
        limit: seconds that it may take.
    """
    _logger.info("Timing the subnets on %s, once: the times are kept.", device)
    source, settings = pool.source, pool.settings
    plainly = dataclasses.replace(settings, capture="none")
    plain = NetworkPool(source, plainly) if settings.capture == "compile" else pool
    networks = [plain.network(number) for number in range(len(source.subnets))]
    shapes = [shape for shape in _shapes(device, patch_size, settings.halo) if shape.pixels <= max_pixels]
    is_captured = device.type == "cuda" and settings.capture in ("auto", "graphs")
    times, graphs, capture = Times(), Times(), Graphs()
    start = time.perf_counter()
    for done, shape in enumerate(tqdm(shapes, desc="timing the subnets", unit="shape", leave=False)):
        left = limit - (time.perf_counter() - start)
        if times and (6 if is_captured else 2) * _guess(times, shape) > left:  # warm-up and a round, and of graphs
            continue
        batch = _batch(shape, source.in_channels, device, settings.precision)
        times[shape] = _seconds(networks, batch, left / (len(shapes) - done))
        if is_captured and shape.patches:
            is_captured, found = _try_graphs(capture, networks, batch, left / (len(shapes) - done))
            graphs |= {shape: found} if found else {}
    costs = _model(times, graphs, source, device)
    if settings.capture == "graphs" and is_captured:
        return dataclasses.replace(costs, captured=(math.inf,) * len(networks))
    return costs if settings.capture != "compile" else _compiled(costs, pool, times, device)


def _shapes(device: torch.device, patch_size: int, halo: int) -> list[Shape]:
    """What is timed: a small dense run, which tells most, and the others from small to large."""
    is_cuda = device.type == "cuda"
    first, *shapes = [Shape(0, side) for side in (_DENSE_GPU if is_cuda else _DENSE_CPU)]
    for patches in SIDES:
        side = patches * patch_size + 2 * halo
        shapes += [Shape(patches, side, max(1, p // side**2)) for p in (_BATCHES_GPU if is_cuda else _BATCHES_CPU)]
    return [first, *sorted(dict.fromkeys(shapes), key=lambda shape: shape.pixels)]


def _guess(times: Times, shape: Shape) -> float:
    """Seconds that a round of all subnets takes, by the largest shape that was timed."""
    known = max(times, key=lambda other: other.pixels)
    return sum(times[known]) * shape.pixels / known.pixels


def _batch(shape: Shape, channels: int, device: torch.device, precision: str) -> Tensor:
    pixels = torch.rand(shape.batch, channels, shape.side, shape.side, device=device, dtype=dtype_of(precision))
    return pixels.contiguous(memory_format=torch.channels_last)


def _seconds(networks: Sequence[nn.Module | Run], batch: Tensor, limit: float) -> list[float]:
    """Medians of up to five rounds after a warm-up; fewer where they would take longer than `limit` seconds."""
    if batch.device.type == "cpu":
        keep_freed_blocks()
    start, rounds = time.perf_counter(), [[_call(network, batch) for network in networks]]
    while len(rounds) <= REPEATS:
        rounds.append([_call(network, batch) for network in networks])
        if time.perf_counter() - start > limit:
            break
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


def _call(network: nn.Module | Run, batch: Tensor) -> float:
    start = seconds_at(batch.device)
    with torch.inference_mode():
        network(batch)
    return seconds_at(batch.device) - start


def _try_graphs(
    capture: Graphs, networks: Sequence[nn.Module], batch: Tensor, limit: float
) -> tuple[bool, list[float] | None]:
    """Whether networks can be captured for a batch, and seconds of their calls."""
    try:
        return True, _seconds([capture(network, batch) for network in networks], batch, limit)
    except RuntimeError as error:
        _logger.warning("CUDA graphs can't be captured here (%s): the networks run without.", str(error).split("\n")[0])
        return False, None


def _model(times: Times, graphs: Times, source: DynamicNetwork, device: torch.device) -> CostModel:
    """Curves through what was timed, for each call by the faster way."""
    captured = []
    for number in range(len(source.subnets)):
        pays = [shape for shape in graphs if graphs[shape][number] < _PAYS * times[shape][number]]
        largest = max((shape.pixels for shape in pays), default=0)
        captured.append(math.inf if largest and largest == max(shape.pixels for shape in graphs) else float(largest))

    def seconds(shape: Shape, number: int) -> float:
        is_captured = shape in graphs and shape.pixels <= captured[number]
        return (graphs if is_captured else times)[shape][number]

    def curves(patches: int, most: int | None = None) -> Curves:
        shapes = [shape for shape in times if shape.patches == patches][:most]
        return tuple(
            Curve(tuple((float(shape.pixels), seconds(shape, number)) for shape in shapes))
            for number in range(len(source.subnets))
        )

    dense = curves(0)
    if device.type == "cuda":
        tiles = curves(0, 2)
    else:  # a call is as dear beside a pixel as by arithmetic: too little of a small window's time to be measured
        first = dense[0].points[0][0]
        beside = costs_by_work(source, device).call_pixels
        per_pixel = [float(curve(first)) / first for curve in dense]
        tiles = tuple(Curve.line(pixels * each, each) for pixels, each in zip(beside, per_pixel, strict=True))
    sides = {side: curves(side) if any(shape.patches == side for shape in times) else dense for side in SIDES}
    return CostModel(dense, tiles, sides, tuple(captured), True)


def _compiled(costs: CostModel, pool: NetworkPool, times: Times, device: torch.device) -> CostModel:
    """The costs of compiled networks: all are taken to gain what the full one does."""
    last = len(pool.source.subnets) - 1

    def factor(patches: int) -> float:
        alike = [shape for shape in times if shape.patches == patches] or list(times)
        shape = max(alike, key=lambda shape: shape.pixels)
        batch = _batch(shape, pool.source.in_channels, device, pool.settings.precision)
        (seconds,) = _seconds([pool.network(last)], batch, math.inf)
        return seconds / times[shape][last]

    dense, windows = costs.times(factor(0)), costs.times(factor(SIDES[1]))
    return dataclasses.replace(dense, windows=windows.windows)
