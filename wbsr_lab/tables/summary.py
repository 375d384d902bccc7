"""Finished rows as one table: ours, the paper's and the difference, each figure a mean over seeds with its spread."""

from __future__ import annotations

import functools
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wbsr_lab.results.paper import Figure, published

Finished = dict[str, Any]
METRICS = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")
PARTS = {"easy": (0.0, 0.3), "medium": (0.3, 0.7), "hard": (0.7, 1.0)}  # shares of the classes, in order of difficulty

_ByClass = list[list[float | None]]  # of each seed


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and standard deviation where there are two seeds at least."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Entry:
    """One row on one test set.

    `iterations`: of a training; `metrics`: by name, PSNR in dB; `gain`: PSNR-Y over the reference row of the same
    backbone, scale and length, paired by seed, if it was tested alike; `gflops`: per LR patch of HR size 128;
    `gflops_paper`: the same by the paper's count, which at x2 is the x4 graph's; `flops_share`: of the row's own full
    network; `paper`: the paper's figures, where it has any; `class_gains`: gain by difficulty class, where rows were
    measured so, None for a class without patches; `part_gains`: their means over the classes of each of PARTS.
    """

    backbone: str
    scale: int
    iterations: int
    row: str
    test_set: str
    images: int
    seeds: tuple[int, ...]
    metrics: dict[str, Spread]
    gain: Spread | None
    parameters: int
    gflops: Spread
    gflops_paper: Spread
    flops_share: Spread
    paper: Figure | None
    class_gains: tuple[Spread | None, ...] = ()
    part_gains: tuple[Spread | None, ...] = ()


def entries(table: str, rows: Sequence[Finished], over: str = "{backbone}") -> list[Entry]:
    """The entries of a table, in the order of its rows.

    Args:
        table: its name, by which the paper's figures are found.
        rows: finished ones.
        over: name of the row that gains are over; `{backbone}` is filled in.
    """
    found = []
    groups: dict[tuple[str, int, int, str], list[Finished]] = defaultdict(list)
    for row in rows:
        groups[row["backbone"], row["scale"], row["iterations"], row["row"]].append(row)
    for (backbone, scale, iterations, name), own in groups.items():
        reference = over.format(backbone=backbone)
        base = {row["seed"]: row for row in groups.get((backbone, scale, iterations, reference), [])}
        parameters, flops, flops_paper = _count(json.dumps(own[0]["network"], sort_keys=True))
        theirs = published(table, backbone, scale, name)
        for test_set in own[0]["sets"]:
            cells = [row["sets"][test_set] for row in own]
            gains = [
                row["sets"][test_set]["psnr_y"] - base[row["seed"]]["sets"][test_set]["psnr_y"]
                for row in own
                if row["seed"] in base and name != reference and row["protocol"] == base[row["seed"]]["protocol"]
            ]
            shares = [cell["flops_share"] for cell in cells]
            by_class = _gains_by_class(own, base, test_set)
            found.append(
                Entry(
                    backbone=backbone,
                    scale=scale,
                    iterations=iterations,
                    row=name,
                    test_set=test_set,
                    images=own[0]["images"][test_set],
                    seeds=tuple(row["seed"] for row in own),
                    metrics={metric: Spread.of([cell[metric] for cell in cells]) for metric in METRICS},
                    gain=Spread.of(gains) if gains else None,
                    parameters=parameters,
                    gflops=Spread.of([share * flops / 1e9 for share in shares]),
                    gflops_paper=Spread.of([share * flops_paper / 1e9 for share in shares]),
                    flops_share=Spread.of(shares),
                    paper=theirs.get(test_set),
                    class_gains=_spreads(by_class),
                    part_gains=_spreads([_means_of_parts(gains) for gains in by_class]),
                )
            )
    return found


def _gains_by_class(own: Sequence[Finished], base: dict[int, Finished], test_set: str) -> _ByClass:
    """PSNR-Y over the reference row's by difficulty class, paired by seed."""
    measured = [(row, base[row["seed"]]) for row in own if row["seed"] in base and test_set in row["classes"]]
    pairs = [(row["classes"][test_set], other["classes"][test_set]) for row, other in measured]
    return [[None if a is None or b is None else a - b for a, b in zip(*pair, strict=True)] for pair in pairs]


def _means_of_parts(gains: Sequence[float | None]) -> list[float | None]:
    bounds = [tuple(round(share * len(gains)) for share in part) for part in PARTS.values()]
    there = [[gain for gain in gains[first:last] if gain is not None] for first, last in bounds]
    return [statistics.fmean(part) if part else None for part in there]


def _spreads(by_seed: _ByClass) -> tuple[Spread | None, ...]:
    return tuple(
        None if None in values else Spread.of([value for value in values if value is not None])
        for values in zip(*by_seed, strict=True)
    )


@functools.lru_cache(maxsize=32)
def _count(network: str) -> tuple[int, int, int]:
    """Parameters and FLOPs of a network's options, and its FLOPs by the paper's count."""

    import wbsr.plugin  # noqa: F401  registers the networks
    from wbsr_base.basicsr import build_network

    options = json.loads(network)
    built = build_network(json.loads(network))
    parameters, flops = sum(weight.numel() for weight in built.parameters()), built.flops[built.full]
    patches = (4 // built.scale) ** 2  # of 32 x 32 LR pixels, in which FLOPs are counted
    if built.scale != 2:
        return parameters, patches * flops, patches * flops
    options["backbone"]["upscale"] = 4
    larger = build_network(options)
    return parameters, patches * flops, patches * larger.flops[larger.full]
