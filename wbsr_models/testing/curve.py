"""The quality curve of one checkpoint: quality over FLOPs and over time, for the values of a policy's knob, such as
`budget`, for fixed subnets, and for the whole network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wbsr_models.routing.policies import knobs

Row = dict[str, Any]


def plot_curve(rows: Sequence[Row], metric: str, title: str, path: Path) -> None:
    """Draw the rows of a test.

    Args:
        rows: with `name`, the metric, `flops_share`, `milliseconds`, and their value of the knob where they belong to
            the curve.
        metric: key of the quality.
        title: of the figure.
        path: of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    knob = next((name for row in rows for name in knobs() if name in row), None)
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    axes = {"flops_share": "FLOPs, % of the full network", "milliseconds": "milliseconds per image"}
    for panel, (key, label) in zip(panels, axes.items(), strict=True):
        scaled = [(row, row[key] * (100 if key == "flops_share" else 1), row[metric]) for row in rows]
        curve = sorted((x, y) for row, x, y in scaled if knob in row)
        if curve:
            panel.plot(*zip(*curve, strict=True), "o-", color="tab:red", label=knob, zorder=3)
        for row, x, y in scaled:
            if knob in row or (row["flops_share"] == 1 and row["name"] != "full"):  # the largest is `full` again
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
    if knob is not None:
        panels[0].legend(loc="lower right")
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
