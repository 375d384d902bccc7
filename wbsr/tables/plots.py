"""Plots of a table: PSNR over FLOPs of its rows; over the number of classes (Figure 7); gain by class (Figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wbsr.tables.summary import Entry


def draw(name: str, how: str, entries: Sequence[Entry], out: Path) -> list[Path]:
    """One PNG for each backbone and scale of the entries."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for backbone, scale in dict.fromkeys((entry.backbone, entry.scale) for entry in entries):
        own = [entry for entry in entries if (entry.backbone, entry.scale) == (backbone, scale)]
        path = out / f"{name}_{backbone}_x{scale}.png"
        {"over_flops": over_flops, "by_classes": by_classes, "gain_by_class": gain_by_class}[how](own, path)
        made.append(path)
    return made


def over_flops(entries: Sequence[Entry], path: Path) -> None:
    """PSNR-Y over GFLOPs, a panel for each test set, a point for each row, with its spread over seeds."""
    sets = list(dict.fromkeys(entry.test_set for entry in entries))
    figure, axes = _panels(len(sets))
    for axis, name in zip(axes, sets, strict=True):
        for entry in (each for each in entries if each.test_set == name):
            psnr = entry.metrics["psnr_y"]
            axis.errorbar(entry.gflops.mean, psnr.mean, yerr=psnr.deviation, fmt="o", capsize=3, label=entry.row)
        axis.set(title=name, xlabel="GFLOPs per LR patch of HR size 128", ylabel="PSNR-Y, dB", xlim=(0, None))
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    figure.suptitle(f"{entries[0].backbone} x{entries[0].scale}")
    _save(figure, path)


def by_classes(entries: Sequence[Entry], path: Path) -> None:
    """PSNR-Y and GFLOPs over K, whose rows are called `K = number`, a panel for each test set."""
    sets = list(dict.fromkeys(entry.test_set for entry in entries))
    figure, axes = _panels(len(sets))
    for axis, name in zip(axes, sets, strict=True):
        own = sorted((each for each in entries if each.test_set == name), key=_classes)
        numbers = [_classes(entry) for entry in own]
        psnr = [entry.metrics["psnr_y"] for entry in own]
        spread = [value.deviation or 0.0 for value in psnr]
        axis.errorbar(numbers, [value.mean for value in psnr], yerr=spread, fmt="o-", capsize=3, color="C0")
        axis.set(title=name, xlabel="difficulty classes K")
        axis.set_ylabel("PSNR-Y, dB", color="C0")
        cost = axis.twinx()
        cost.plot(numbers, [entry.gflops.mean for entry in own], "s--", color="C1")
        cost.set_ylabel("GFLOPs per LR patch of HR size 128", color="C1")
    figure.suptitle(f"{entries[0].backbone} x{entries[0].scale}")
    _save(figure, path)


def gain_by_class(entries: Sequence[Entry], path: Path) -> None:
    """PSNR-Y over the first row's by difficulty class, a panel for each test set, a line for each row."""
    sets = list(dict.fromkeys(entry.test_set for entry in entries))
    figure, axes = _panels(len(sets))
    for axis, name in zip(axes, sets, strict=True):
        axis.axhline(0, color="0.6", linewidth=1)
        rows = [each for each in entries if each.test_set == name and each.gain is not None]
        for number, entry in enumerate(rows):
            shown = [(k, gain) for k, gain in enumerate(entry.class_gains, 1) if gain is not None]
            places = [k + 0.06 * (number - len(rows) / 2) for k, _ in shown]  # apart, so that bars don't cover another
            means, spread = [gain.mean for _, gain in shown], [gain.deviation or 0.0 for _, gain in shown]
            axis.errorbar(places, means, yerr=spread, fmt="o-", markersize=3, linewidth=1, capsize=2, label=entry.row)
        axis.set(title=name, xlabel="difficulty class, 1 the flattest", ylabel="PSNR-Y gain over the first row, dB")
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    figure.suptitle(f"{entries[0].backbone} x{entries[0].scale}")
    _save(figure, path)


def _classes(entry: Entry) -> int:
    return int(entry.row.rpartition("=")[2])


def _panels(count: int) -> tuple[Any, Sequence[Any]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, count, figsize=(5 * count + 1, 4), squeeze=False, layout="constrained")
    return figure, axes[0]


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
