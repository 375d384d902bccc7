"""What a table shows beside its numbers: plots of its entries, and pictures of what its networks do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wbsr_lab.tables.options import Folders
from wbsr_lab.tables.recipe import Table
from wbsr_lab.tables.runner import analysis
from wbsr_lab.tables.summary import Entry, Finished

_MARKERS = "os^D"  # every ten rows another one, for colours repeat


@dataclass(frozen=True)
class Content:
    """What there is to draw of one backbone and scale: its entries, its finished rows of the first seed, the folder of
    the results, and where the pairs are in it."""

    entries: Sequence[Entry]
    rows: Sequence[Finished]
    out: Path
    folders: Folders

    @property
    def scale(self) -> int:
        return self.entries[0].scale

    def weights(self, row: str) -> Path | None:
        """The checkpoint of a row; None if it is not finished."""
        return next((self.out / each["weights"] for each in self.rows if each["row"] == row), None)

    def picture(self) -> tuple[Path, str]:
        """The first image of the first test set: the set's folder, and the name of its files."""
        folder = self.out / next(iter(self.folders.tests.values()))
        return folder, min(path.name for path in (folder / "HR").iterdir())


def draw(
    name: str, table: Table, entries: Sequence[Entry], rows: Sequence[Finished], out: Path, folders: dict[int, Folders]
) -> list[Path]:
    """PNG files in the table's folder for each backbone, scale and length of training; one for all lengths where these
    are what the table is about."""
    (out / name).mkdir(parents=True, exist_ok=True)
    groups: dict[tuple[str, int, int | None], list[Entry]] = {}
    for entry in entries:
        length = None if table.draw == "over_iterations" else entry.iterations
        groups.setdefault((entry.backbone, entry.scale, length), []).append(entry)
    several = len({length for *_, length in groups}) > 1
    made: list[Path] = []
    for (backbone, scale, length), own in groups.items():
        first = min(seed for entry in own for seed in entry.seeds)
        keys = {(backbone, scale, entry.iterations, first) for entry in own}
        finished = [row for row in rows if (row["backbone"], row["scale"], row["iterations"], row["seed"]) in keys]
        file = f"{name}_{backbone}_x{scale}{f'_{length}' if several else ''}.png"
        made += _DRAW[table.draw](Content(own, finished, out, folders[scale]), out / name / file)
    return made


def by_set(panel: Callable[[Any, Sequence[Entry]], None]) -> Callable[[Content, Path], list[Path]]:
    """A plot with a panel for each test set, drawn by `panel(axis, entries of the set)`, and a legend of its labels."""

    def plot(content: Content, path: Path) -> list[Path]:
        entries = content.entries
        sets = list(dict.fromkeys(entry.test_set for entry in entries))
        figure, axes = _panels(len(sets))
        for axis, name in zip(axes, sets, strict=True):
            panel(axis, [entry for entry in entries if entry.test_set == name])
            axis.set_title(name)
        if axes[-1].get_legend_handles_labels()[1]:
            axes[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
        figure.suptitle(f"{entries[0].backbone} x{entries[0].scale}")
        return _save(figure, path)

    return plot


def over_flops(axis: Any, entries: Sequence[Entry]) -> None:
    """PSNR-Y over GFLOPs, a point for each row, with its spread over seeds."""
    step = 0.008 * max(entry.gflops.mean for entry in entries)  # apart, so that rows of equal cost are all seen
    for number, entry in enumerate(entries):
        psnr, equal = entry.metrics["psnr_y"], [e for e in entries if abs(e.gflops.mean - entry.gflops.mean) < step / 2]
        place = entry.gflops.mean + step * (equal.index(entry) - (len(equal) - 1) / 2)
        style = {"marker": _MARKERS[number // 10 % len(_MARKERS)], "linestyle": "none", "capsize": 3}
        axis.errorbar(place, psnr.mean, yerr=psnr.deviation, label=entry.row, **style)
    axis.set(xlabel="GFLOPs per LR patch of HR size 128", ylabel="PSNR-Y, dB", xlim=(0, None))


def by_classes(axis: Any, entries: Sequence[Entry]) -> None:
    """PSNR-Y and GFLOPs over K, whose rows are called `K = number`."""
    own = sorted(entries, key=_classes)
    numbers = [_classes(entry) for entry in own]
    psnr = [entry.metrics["psnr_y"] for entry in own]
    spread = [value.deviation or 0.0 for value in psnr]
    axis.errorbar(numbers, [value.mean for value in psnr], yerr=spread, fmt="o-", capsize=3, color="C0")
    axis.set_xlabel("difficulty classes K")
    axis.set_ylabel("PSNR-Y, dB", color="C0")
    cost = axis.twinx()
    cost.plot(numbers, [entry.gflops.mean for entry in own], "s--", color="C1")
    cost.set_ylabel("GFLOPs per LR patch of HR size 128", color="C1")


def gain_by_class(axis: Any, entries: Sequence[Entry]) -> None:
    """PSNR-Y gain by difficulty class, a line for each row."""
    axis.axhline(0, color="0.6", linewidth=1)
    rows = [entry for entry in entries if entry.gain is not None]
    for number, entry in enumerate(rows):
        shown = [(k, gain) for k, gain in enumerate(entry.class_gains, 1) if gain is not None]
        places = [k + 0.06 * (number - len(rows) / 2) for k, _ in shown]  # apart, so that bars don't cover another
        means, spread = [gain.mean for _, gain in shown], [gain.deviation or 0.0 for _, gain in shown]
        axis.errorbar(places, means, yerr=spread, fmt="o-", markersize=3, linewidth=1, capsize=2, label=entry.row)
    axis.set(xlabel="difficulty class, 1 the flattest", ylabel="PSNR-Y gain, dB")


def over_iterations(axis: Any, entries: Sequence[Entry]) -> None:
    """PSNR-Y gain over the length of the training, a line for each row."""
    axis.axhline(0, color="0.6", linewidth=1)
    rows: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.iterations):
        if entry.gain is not None:
            rows.setdefault(entry.row, []).append(entry)
    for number, (name, own) in enumerate(rows.items()):
        places = [entry.iterations * 1.015 ** (number - len(rows) / 2) for entry in own]  # apart, as above
        gains = [entry.gain for entry in own if entry.gain is not None]
        spread = [gain.deviation or 0.0 for gain in gains]
        axis.errorbar(places, [gain.mean for gain in gains], yerr=spread, fmt="o-", capsize=2, label=name)
    axis.set(xscale="log", xlabel="iterations of the training", ylabel="PSNR-Y gain, dB")
    lengths = sorted({entry.iterations for entry in entries})
    axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axis.minorticks_off()


def shares_and_errors(content: Content, path: Path) -> list[Path]:
    """What `wbsr analyze` drew of the training set: shares of easy, medium and hard patches, errors by class."""
    made = []
    for kind in ("levels", "quality"):
        made.append(path.with_name(f"{path.stem}_{kind}.png"))
        shutil.copyfile(content.out / analysis(content.rows[0], "train") / f"{kind}.png", made[-1])
    return made


def projection(content: Content, path: Path) -> list[Path]:
    """Gradients, scores and subnets of a test image by the last row's network."""
    from wbsr_lab.tables import pictures

    pair, name = content.picture()
    pictures.projection(content.out / content.rows[-1]["weights"], pair, name, content.scale, path)
    return [path]


def errors(content: Content, path: Path) -> list[Path]:
    """Errors of a test image without BDLoss (row `+ HES`) and with it (`+ WBSR`); nothing until both are finished."""
    from wbsr_lab.tables import pictures

    without, with_loss = content.weights("+ HES"), content.weights("+ WBSR")
    if without is None or with_loss is None:
        return []
    pair, name = content.picture()
    pictures.errors(without, with_loss, pair, name, content.scale, path)
    return [path]


_DRAW = {
    "over_flops": by_set(over_flops),
    "by_classes": by_set(by_classes),
    "gain_by_class": by_set(gain_by_class),
    "over_iterations": by_set(over_iterations),
    "analysis": shares_and_errors,
    "projection": projection,
    "errors": errors,
}


def _classes(entry: Entry) -> int:
    return int(entry.row.rpartition("=")[2])


def _panels(count: int) -> tuple[Any, Sequence[Any]]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, count, figsize=(5 * count + 1, 4), squeeze=False, layout="constrained")
    return figure, axes[0]


def _save(figure: Any, path: Path) -> list[Path]:
    from matplotlib import pyplot

    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
    return [path]
