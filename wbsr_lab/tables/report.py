"""A table as Markdown, CSV, JSON, and one HTML page that needs no other file."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wbsr_base.files import write_whole
from wbsr_lab.tables.recipe import Table
from wbsr_lab.tables.summary import METRICS, PARTS, Entry, Spread

HEAD = (
    "network",
    "row",
    "iterations",
    "test set",
    "seeds",
    "PSNR-Y dB",
    "gain dB",
    "PSNR-RGB dB",
    "SSIM-Y",
    "parameters M",
    "GFLOPs",
    "FLOPs %",
    "paper: PSNR dB",
    "SSIM",
    "GFLOPs",
    "ours - paper dB",
)
NOTE = (
    "PSNR and SSIM: BasicSR's, scale pixels of border cropped, on luma (Y) and on RGB; means over the images, then "
    "over the seeds, ± standard deviation. The paper does not say the channel of each of its rows; some of its "
    "rivals' look like RGB. GFLOPs: 2 x multiply-accumulates of an LR patch of HR size 128, mean over all patches; at "
    "x2 the paper counts the x4 graph on that patch, which stands in brackets. FLOPs %: of the row's own full "
    "network."
)


def write(
    name: str, table: Table, entries: Sequence[Entry], plots: Sequence[Path], about: Sequence[str], out: Path
) -> list[Path]:
    """Write the table in all four forms.

    Args:
        name: of the table, such as `table1`.
        table: its title and note.
        entries: what stands in it.
        plots: PNG files to show on the page.
        about: lines on how it was made: the preset, rows that failed or are missing.
        out: folder.

    Returns:
        The files.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = {
        f"{name}.md": _markdown(table, entries, plots, about),
        f"{name}.csv": _csv(entries),
        f"{name}.json": json.dumps({"title": table.title, "about": list(about), "rows": _plain(entries)}, indent=1)
        + "\n",
        f"{name}.html": _html(table, entries, plots, about),
    }
    for file, content in files.items():
        write_whole(out / file, content)
    return [out / file for file in files]


def line(entry: Entry) -> tuple[str, ...]:
    """One line of the table, as texts in the order of HEAD."""
    paper = entry.paper
    two = entry.scale == 2
    return (
        f"{entry.backbone} x{entry.scale}",
        entry.row,
        f"{entry.iterations:,}",
        f"{entry.test_set} ({entry.images})",
        str(len(entry.seeds)),
        _text(entry.metrics["psnr_y"], 3),
        *_gains([entry.gain], 3),
        _text(entry.metrics["psnr_rgb"], 3),
        _text(entry.metrics["ssim_y"], 4),
        f"{entry.parameters / 1e6:.2f}",
        _text(entry.gflops, 2) + (f" ({entry.gflops_paper.mean:.2f})" if two else ""),
        f"{100 * entry.flops_share.mean:.1f}",
        "" if paper is None else f"{paper.psnr:.2f}",
        "" if paper is None or paper.ssim is None else f"{paper.ssim:.4f}",
        "" if paper is None or math.isnan(paper.gflops) else f"{paper.gflops:.2f}",
        "" if paper is None else f"{entry.metrics['psnr_y'].mean - paper.psnr:+.2f}",
    )


def _text(value: Spread, digits: int, sign: str = "") -> str:
    spread = "" if value.deviation is None else f" ± {value.deviation:.{digits}f}"
    return f"{value.mean:{sign}.{digits}f}{spread}"


def class_lines(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """The gains by difficulty class as lines of texts, the heads of the columns first; none without gains."""
    own = [entry for entry in entries if entry.class_gains and entry.gain is not None]
    if not own:
        return []
    head = (*HEAD[:4], *PARTS, *(f"class {k}" for k in range(1, len(own[0].class_gains) + 1)))
    return [head, *((*line(entry)[:4], *_gains(entry.part_gains, 3), *_gains(entry.class_gains, 2)) for entry in own)]


def length_lines(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """The gains by length of the trainings, likewise; none where all are of one length."""
    lengths = sorted({entry.iterations for entry in entries})
    gains: dict[tuple[str, ...], dict[int, Spread]] = defaultdict(dict)
    for entry in entries:
        if entry.gain is not None:
            network, row, _, test_set = line(entry)[:4]
            gains[network, row, test_set][entry.iterations] = entry.gain
    if len(lengths) == 1 or not gains:
        return []
    head = (HEAD[0], HEAD[1], HEAD[3], *(f"gain dB, {length:,} iterations" for length in lengths))
    return [head, *((*key, *_gains([own.get(length) for length in lengths], 3)) for key, own in gains.items())]


def _gains(gains: Sequence[Spread | None], digits: int) -> list[str]:
    return ["" if gain is None else _text(gain, digits, sign="+") for gain in gains]


def _grids(entries: Sequence[Entry]) -> list[list[tuple[str, ...]]]:
    """The tables of a page, the heads of the columns first."""
    return [grid for grid in ([HEAD, *map(line, entries)], length_lines(entries), class_lines(entries)) if grid]


def _markdown(table: Table, entries: Sequence[Entry], plots: Sequence[Path], about: Sequence[str]) -> str:
    lines = [f"# {table.title}", "", *(f"* {each}" for each in (*about, NOTE, *filter(None, [table.note])))]
    for head, *cells in _grids(entries):
        lines += ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(row) + " |" for row in cells]
    lines += ["", *(f"![{plot.stem}]({plot.name})" for plot in plots)]
    return "\n".join(lines).rstrip() + "\n"


def _csv(entries: Sequence[Entry]) -> str:
    text = io.StringIO()
    rows = _plain(entries)
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["row"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _plain(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Flat rows of numbers and texts."""
    rows = []
    for entry in entries:
        row: dict[str, Any] = {
            key: value
            for key, value in asdict(entry).items()
            if key in ("backbone", "scale", "iterations", "row", "test_set", "images", "parameters")
        }
        row["seeds"] = " ".join(map(str, entry.seeds))
        spreads = {metric: entry.metrics[metric] for metric in METRICS}
        spreads |= {"gflops": entry.gflops, "gflops_paper_count": entry.gflops_paper, "flops_share": entry.flops_share}
        gains = {"gain": entry.gain, **dict(zip((f"gain_{part}" for part in PARTS), entry.part_gains, strict=False))}
        gains |= {f"gain_class_{k}": gain for k, gain in enumerate(entry.class_gains, 1)}
        for key, value in {**spreads, **gains}.items():
            row[key] = None if value is None else value.mean
            row[f"{key}_deviation"] = None if value is None else value.deviation
        paper = entry.paper
        row["paper_psnr"] = None if paper is None else paper.psnr
        row["paper_ssim"] = None if paper is None else paper.ssim
        row["paper_gflops"] = None if paper is None or math.isnan(paper.gflops) else paper.gflops
        rows.append(row)
    return rows


_STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em;max-width:90em}table{border-collapse:collapse;margin-bottom:1.5em}"
    "td,th{border-bottom:1px solid #ccc;padding:.25em .7em;text-align:right;white-space:nowrap}"
    "td:nth-child(-n+3),th:nth-child(-n+3){text-align:left}th{vertical-align:bottom;white-space:normal}"
    "img{max-width:100%;margin:1em 1em 0 0}"
)


def _html(table: Table, entries: Sequence[Entry], plots: Sequence[Path], about: Sequence[str]) -> str:
    def row(tag: str, texts: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts) + "</tr>"

    notes = "".join(f"<li>{html.escape(each)}</li>" for each in (*about, NOTE, *filter(None, [table.note])))
    tables = "".join(
        f"<table>{row('th', head)}{''.join(row('td', texts) for texts in cells)}</table>"
        for head, *cells in _grids(entries)
    )
    images = "".join(
        f'<img alt="{html.escape(plot.stem)}" src="data:image/png;base64,'
        f'{base64.b64encode(plot.read_bytes()).decode()}">'
        for plot in plots
    )
    title = html.escape(table.title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><ul>{notes}</ul>{tables}{images}</html>\n"
    )
