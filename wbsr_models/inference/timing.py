"""Times network calls on the device at hand, by the shapes and batches that plans are made of.

Each kind of call is timed at a few sizes: batches of windows of each side, and dense runs. Small sizes come first; one
that would overrun what is left of the time is left out, and the curves go on there as straight lines. Subnets take
turns, so that what else the device does meets all of them.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from wbsr_arch.dynamic import DynamicNetwork
from wbsr_base.devices import keep_freed_blocks, seconds_at
from wbsr_base.precision import dtype_of
from wbsr_models.inference.capture import Captures, Graphs, Run
from wbsr_models.inference.costs import SIDES, costs_by_work
from wbsr_models.inference.measured import Shape, Timings
from wbsr_models.inference.memory import Memory
from wbsr_models.inference.planner import Request
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.ready import ready
from wbsr_models.inference.window_planner import WindowPlanner
from wbsr_models.inference.window_runner import WindowRunner

REPEATS = 5
SECONDS = 20.0  # that a measurement may take

_DENSE_CPU, _DENSE_GPU = (64, 128, 256), (64, 256, 640)  # LR pixels of the sides of images
_BATCHES_CPU, _BATCHES_GPU = (2**11, 2**13), (2**12, 2**15, 2**17)  # LR pixels of batches of windows
_MOVING = 3, 12  # patches along the sides of images of which windows are moved
_ROUNDS = 2, 6  # of all subnets that a shape takes at the least: warm-up and one; with graphs these, and capturing

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


def time_subnets(
    network: DynamicNetwork, device: torch.device, precision: str = "fp32", side: int = 64
) -> tuple[float, ...]:
    """Seconds per LR pixel of each subnet on one image of side x side LR pixels, medians of five runs, all above 0."""
    networks = [ready(network.extract(subnet).to(device), precision) for subnet in network.subnets]
    window = _batch(Shape(0, side), network.in_channels, device, precision)
    return tuple(seconds / side**2 for seconds in _seconds(networks, window, math.inf))


def time_calls(
    pool: NetworkPool, device: torch.device, patch_size: int, max_pixels: float = math.inf, limit: float = SECONDS
) -> Timings:
    """All calls, measured now. It is announced, and shows its progress.

    Args:
        pool: the networks as they are to run, not compiled.
        device: where they run.
        patch_size: LR pixels.
        max_pixels: LR pixels of the largest batch that fits into the memory.
        limit: seconds that it may take.
    """
    _logger.info("Timing the subnets on %s, once: the times are kept.", device)
    networks = [pool.network(number) for number in range(len(pool.source.subnets))]
    shapes = [shape for shape in _shapes(device, patch_size, pool.settings.window_halo) if shape.pixels <= max_pixels]
    calls: dict[Shape, tuple[float, ...]] = {}
    graphs: dict[Shape, tuple[float, ...]] = {}
    by_graphs, start = _can_capture(device), time.perf_counter()
    for done, shape in enumerate(tqdm(shapes, desc="timing the subnets", unit="shape", leave=False)):
        left = limit - (time.perf_counter() - start)
        share = left / (len(shapes) - done)
        if calls and _ROUNDS[by_graphs and shape.patches > 0] * _guess(calls, shape) > left:
            continue
        batch = _batch(shape, pool.source.in_channels, device, pool.settings.precision)
        calls[shape] = _seconds(networks, batch, share)
        if by_graphs and shape.patches:
            capture = Graphs()  # for each shape anew: memory whose graphs are all gone can't be shared any more
            try:
                graphs[shape] = _seconds([capture(network, batch) for network in networks], batch, share)
            except RuntimeError as error:
                by_graphs = False
                _logger.warning("CUDA graphs can't be captured here (%s).", str(error).split("\n")[0])
    return Timings(calls, graphs, time_moving(pool, device, patch_size))


def time_moving(pool: NetworkPool, device: torch.device, patch_size: int) -> tuple[tuple[float, float], ...]:
    """(LR pixels, seconds) of images whose windows are planned, cut and put together, while their networks take no
    time."""
    settings, subnets, scale = pool.settings, len(pool.source.subnets), pool.source.scale
    costs = costs_by_work(pool.source, device)
    runner = WindowRunner(pool, Memory(pool.source, settings), _Nothing(scale))
    points = []
    for rows in _MOVING:
        lr = torch.rand(pool.source.in_channels, rows * patch_size, rows * patch_size, device=device)
        choice = np.arange(rows**2).reshape(rows, rows) % subnets
        height, width = lr.shape[1:]
        request = Request(choice, height, width, costs, height * width, tuple)

        def move(lr: Tensor = lr, request: Request = request) -> None:
            runner(lr, WindowPlanner(patch_size, settings)(request))

        seconds = [_seconds_of(move, device) for _ in range(1 + REPEATS)][1:]
        points.append((float(height * width), statistics.median(seconds)))
    return tuple(points)


class _Nothing(Captures):
    """In the place of networks: outputs whose values are undefined."""

    def __init__(self, scale: int) -> None:
        super().__init__(())
        self._scale = scale

    def __call__(self, number: int, network: nn.Module, batch: Tensor) -> Tensor:
        shape = len(batch), batch.shape[1], self._scale * batch.shape[2], self._scale * batch.shape[3]
        return torch.empty(shape, dtype=batch.dtype, device=batch.device, memory_format=torch.channels_last)


def gain_of_compiling(pool: NetworkPool, timings: Timings, device: torch.device) -> tuple[float, float]:
    """What the full network takes of its time once it is compiled, in dense runs and in batches of windows.

    Args:
        pool: compiled networks.
        timings: of the same networks, not compiled.
        device: where they run.
    """
    last = len(pool.source.subnets) - 1

    def gain(is_dense: bool) -> float:
        alike = [shape for shape in timings.calls if (shape.patches == 0) == is_dense] or list(timings.calls)
        shape = max(alike, key=lambda shape: shape.pixels)
        batch = _batch(shape, pool.source.in_channels, device, pool.settings.precision)
        (seconds,) = _seconds([pool.network(last)], batch, math.inf)
        return seconds / timings.calls[shape][last]

    return gain(True), gain(False)


def _can_capture(device: torch.device) -> bool:
    return device.type == "cuda"


def _shapes(device: torch.device, patch_size: int, halo: int) -> list[Shape]:
    """What is timed: a small dense run, which tells most, and the others from small to large."""
    is_cuda = device.type == "cuda"
    first, *shapes = [Shape(0, side) for side in (_DENSE_GPU if is_cuda else _DENSE_CPU)]
    for patches in SIDES:
        side = patches * patch_size + 2 * halo
        shapes += [Shape(patches, side, max(1, p // side**2)) for p in (_BATCHES_GPU if is_cuda else _BATCHES_CPU)]
    return [first, *sorted(dict.fromkeys(shapes), key=lambda shape: shape.pixels)]


def _guess(calls: dict[Shape, tuple[float, ...]], shape: Shape) -> float:
    """Seconds that a round of all subnets takes, by the largest shape that was timed."""
    known = max(calls, key=lambda other: other.pixels)
    return sum(calls[known]) * shape.pixels / known.pixels


def _batch(shape: Shape, channels: int, device: torch.device, precision: str) -> Tensor:
    pixels = torch.rand(shape.batch, channels, shape.side, shape.side, device=device, dtype=dtype_of(precision))
    return pixels.contiguous(memory_format=torch.channels_last)


def _seconds(networks: Sequence[nn.Module | Run], batch: Tensor, limit: float) -> tuple[float, ...]:
    """Medians of up to five rounds after a warm-up; fewer where they would take longer than `limit` seconds."""
    if batch.device.type == "cpu":
        keep_freed_blocks()
    start, rounds = time.perf_counter(), [[_call(network, batch) for network in networks]]
    while len(rounds) <= REPEATS:
        rounds.append([_call(network, batch) for network in networks])
        if time.perf_counter() - start > limit:
            break
    return tuple(statistics.median(times) for times in zip(*rounds[1:], strict=True))


def _call(network: nn.Module | Run, batch: Tensor) -> float:
    with torch.inference_mode():
        return _seconds_of(lambda: network(batch), batch.device)


def _seconds_of(call: Callable[[], object], device: torch.device) -> float:
    start = seconds_at(device)
    call()
    return seconds_at(device) - start
