"""What the demo shows: a table of PSNR over FLOPs, its plot, and pictures side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]

DETAIL = 64  # HR pixels


@dataclass(frozen=True)
class Pictures:
    """The test pairs: a folder with `HR` and `LRx{scale}`."""

    folder: Path
    scale: int


def write_report(out: Path, what: str, pictures: Pictures) -> list[Row]:
    """Gather what a test run left in `out` and write report.json, report.md, the plot and the pictures there.

    Args:
        out: the test run's results folder, with `held_out.json` and `visualization/`.
        what: was tested, for the report.
        pictures: that were tested.

    Returns:
        The rows: bicubic, the full network, dynamic inference, the full network on whole images, every subnet.
    """
    rows = read_rows(out / "held_out.json")
    (out / "report.json").write_text(json.dumps({"rows": rows}, indent=2) + "\n", encoding="utf-8")
    (out / "report.md").write_text(_markdown(what, rows), encoding="utf-8")
    _plot(rows, out / "psnr_over_flops.png")
    for path in sorted((pictures.folder / "HR").iterdir()):
        _compare(path, pictures.folder / f"LRx{pictures.scale}" / path.name, pictures.scale, out)
    return rows


def read_rows(path: Path) -> list[Row]:
    """The rows of a test's result file, the most telling first."""
    measured = {row["name"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}
    first = [name for name in ("bicubic", "full", "paper", "dense") if name in measured]
    keys = ("name", "psnr_y", "ssim_y", "flops_share", "flops_share_run", "milliseconds")
    return [{key: measured[name][key] for key in keys} for name in dict.fromkeys([*first, *measured])]


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| network | PSNR-Y dB | SSIM-Y | FLOPs % | with halos % | ms per image |", "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['psnr_y']:.2f} | {row['ssim_y']:.4f} | {100 * row['flops_share']:.1f} "
            f"| {100 * row['flops_share_run']:.1f} | {row['milliseconds']:.0f} |"
        )
    return "\n".join(lines)


def _markdown(what: str, rows: Sequence[Row]) -> str:
    return (
        f"# WBSR demo\n\n{what}, on photographs it has not seen. `full` is the whole network by tiles, `dense` on "
        "whole images, `paper` is dynamic inference by Eq. 15, `budget` spends a share of the FLOPs where it helps, "
        "the others are fixed subnets. FLOPs are the mean over patches, then those of the tiles that were "
        "run.\n\n"
        f"{table(rows)}\n\n![PSNR over FLOPs](psnr_over_flops.png)\n"
    )


def _compare(hr_path: Path, lr_path: Path, scale: int, out: Path) -> None:
    """Put bicubic, SR, HR and the subnet map of one image side by side."""
    from wbsr_base.pixels.bicubic import resize

    pictures = out / "visualization"
    shown = {
        "bicubic": resize(_image(lr_path), scale),
        "SR": _image(pictures / "held_out" / f"{hr_path.stem}_SR.png"),
        "HR": _image(hr_path),
        "subnets: blue cheapest": _image(pictures / "held_out_maps" / f"{hr_path.stem}_map.png"),
    }
    _side_by_side(shown, out / f"compare_{hr_path.stem}.png")


def _image(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path)), dtype=np.uint8)


def _side_by_side(pictures: dict[str, NDArray[np.uint8]], path: Path) -> None:
    """The pictures in a row, labelled; below each, the detail in which SR gains most over bicubic, enlarged."""
    bicubic, sr, hr = (pictures[name].astype(np.float32) for name in ("bicubic", "SR", "HR"))
    gain = cv2.boxFilter((np.abs(bicubic - hr) - np.abs(sr - hr)).mean(axis=2), -1, (DETAIL, DETAIL))
    half = DETAIL // 2
    inside = gain[half : gain.shape[0] - half, half : gain.shape[1] - half]  # whole details only
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    columns = []
    for label, picture in pictures.items():
        width = picture.shape[1]
        band = np.full((28, width, 3), 255, np.uint8)
        cv2.putText(band, label, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
        detail = picture[top : top + DETAIL, left : left + DETAIL]
        columns.append(np.vstack([band, picture, cv2.resize(detail, (width, width), interpolation=cv2.INTER_NEAREST)]))
    cv2.imwrite(str(path), np.hstack(columns))


def _plot(rows: Sequence[Row], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    bicubic, *networks = rows
    for row in networks:
        x, y = 100 * row["flops_share"], row["psnr_y"]
        colour = {"paper": "tab:red", "full": "black"}.get(row["name"], "tab:blue")
        axes.scatter(x, y, color=colour, zorder=4 if row["name"] == "full" else 3)
        name = "" if x == 100 and row["name"] != "full" else row["name"]  # the largest subnet lies under `full`
        axes.annotate(name, (x, y), xytext=(0, -12), textcoords="offset points", fontsize=8, color=colour, ha="center")
    axes.set(xlabel="FLOPs, % of the full network", ylabel="PSNR-Y, dB")
    axes.set_title(f"Held-out photographs (bicubic: {bicubic['psnr_y']:.2f} dB)")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
