"""The quality curve of one checkpoint: quality over FLOPs and over time, for budgets, fixed subnets, and the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def plot_curve(rows: Sequence[Row], metric: str, title: str, path: Path) -> None:
    """Draw the rows of a test.

    Args:
        rows: with `name`, the metric, `flops_share`, `milliseconds`, and `budget` where they belong to the curve.
        metric: key of the quality.
        title: of the figure.
        path: of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    axes = {"flops_share": "FLOPs, % of the full network", "milliseconds": "milliseconds per image"}
    for panel, (key, label) in zip(panels, axes.items(), strict=True):
        scaled = [(row, row[key] * (100 if key == "flops_share" else 1), row[metric]) for row in rows]
        curve = sorted((x, y) for row, x, y in scaled if "budget" in row)
        if curve:
            panel.plot(*zip(*curve, strict=True), "o-", color="tab:red", label="budget", zorder=3)
        for row, x, y in scaled:
            if "budget" in row or (row["flops_share"] == 1 and row["name"] != "full"):  # the largest is `full` again
                continue
            colour = {"paper": "tab:green", "full": "black"}.get(row["name"], "tab:blue")
            panel.scatter(x, y, color=colour, zorder=4 if row["name"] in ("paper", "full") else 2)
            panel.annotate(
                row["name"], (x, y), xytext=(0, -12), textcoords="offset points", fontsize=8, color=colour, ha="center"
            )
        panel.set_xlabel(label)
        panel.grid(alpha=0.3)
        panel.margins(0.08)
    panels[0].set_ylabel(metric)
    if any("budget" in row for row in rows):
        panels[0].legend(loc="lower right")
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
