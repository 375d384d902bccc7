"""The page of `wbsr results`: for each network and test set one table, then dynamic inference beside the paper's."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wbsr_lab.results.paper import SETS, routed

Result = dict[str, Any]

_PAPER_NAMES = {"MSRResNet": "SRResNet"}  # BasicSR's name of a backbone: the paper's
_PATCHES = ", by ClassSR's protocol: patches of 32 every 28 LR pixels, uncovered borders left out"
_HEAD = """# Results

Written by

    {command}

from what `wbsr test` measured, and never edited by hand.

* `bicubic` is MATLAB's. `dense` is the full network on whole images, as BasicSR runs it; `full` is the same by tiles.
  `paper` is dynamic inference by Eq. 15. `budget b` spends the share b of the full network's FLOPs where the calibrated
  error table expects most of it; over a test set the mean keeps to b. `classsr` is ClassSR's classifier. w24d4 is one
  subnet everywhere: 24 wide, 4 deep.
* FLOPs: the paper's rule, the mean over patches; "run": what was computed, with halos and joined tiles.
* ms: milliseconds per image, mean over the set; "/ dense": over the time of the dense run in the same test.
"""


def page(results: Sequence[Result], command: Sequence[str]) -> str:
    """Markdown of all results.

    Args:
        results: contents of result files.
        command: what made the page, to be quoted on it.
    """
    parts = [_HEAD.format(command=shlex.join(command))]
    networks = dict.fromkeys(str(result["weights"]) for result in results)
    for weights in networks:
        own = [result for result in results if str(result["weights"]) == weights]
        parts.append(_network(own))
        parts += [_set(result) for result in own]
    parts.append(_beside_the_paper(results))
    return "\n".join(parts)


def _network(results: Sequence[Result]) -> str:
    one = results[0]
    network = one["network"]
    backbone = dict(network["backbone"])
    kind, scale = backbone.pop("type"), one["scale"]
    arguments = ", ".join(f"{key} {value}" for key, value in backbone.items())
    lines = [
        f"## {Path(one['weights']).stem}: {kind} x{scale}",
        "",
        f"{arguments}; {_subnets(network)}. Measured on {one['device']}"
        + (f", {one['threads']} thread{'s' * (one['threads'] > 1)}" if one["device"] == "cpu" else "")
        + f", torch {one['torch']}.",
        "",
    ]
    return "\n".join(lines)


def _subnets(network: dict[str, Any]) -> str:
    if network.get("type") == "ClassSR":
        return f"ClassSR's independent branches of widths {network['widths']}"
    return f"widths {network['widths']}, depths {network['depths']}"


def _set(result: Result) -> str:
    metrics, rows = result["metrics"] or {}, {row["name"]: row for row in result["rows"]}
    first = ["bicubic", "dense", "full"]
    order = dict.fromkeys([*first, *rows])
    paper = _paper_rows(result)
    heads = [_label(options) for options in metrics.values()]
    head = ["network", *heads, "FLOPs %", "run %", "ms", "/ dense"]
    head += ["paper: PSNR-Y dB", "paper: FLOPs %"] if paper else []
    protocol = result.get("protocol", "whole")
    lines = [f"### {result['set']}, {result['images']} images{'' if protocol == 'whole' else _PATCHES}", ""]
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    dense = rows["dense"]["milliseconds"]
    for name in order:
        row = rows[name]
        cells = [name, *(_number(row[key], options) for key, options in metrics.items())]
        cells += [f"{100 * row['flops_share']:.1f}", f"{100 * row['flops_share_run']:.1f}"]
        cells += [f"{row['milliseconds']:.0f}", f"{row['milliseconds'] / dense:.2f}"]
        cells += list(paper.get(name, ("–", "–"))) if paper else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _paper_rows(result: Result) -> dict[str, tuple[str, str]]:
    """PSNR and share of FLOPs in the paper, by our names of the rows; empty for what the paper did not test."""
    theirs = routed(_backbone(result), result["scale"], result["set"])
    if theirs is None:
        return {}
    return {
        "dense": (f"{theirs.whole:.2f}", "100.0"),
        "paper": (f"{theirs.psnr:.2f}", f"{100 * theirs.share:.1f}"),
    }


def _beside_the_paper(results: Iterable[Result]) -> str:
    """What dynamic inference costs against its own full network: ours by set, and the paper's."""
    lines = [
        "## Dynamic inference against its own full network, ours and the paper's",
        "",
        "The paper trained on DIV2K (800 images) for about 200,000 iterations and reports B100, Urban100, Test2K and "
        "Test4K against a backbone trained by itself; ours is measured against the supernet's own full network. "
        "Training set and budget differ, so the levels can't be compared; these differences show what routing costs.",
        "",
        "| network | test set | PSNR-Y against dense, dB | FLOPs % |",
        "|---|---|---|---|",
    ]
    keys: dict[tuple[str, int], None] = {}
    for result in results:
        rows = {row["name"]: row for row in result["rows"]}
        metric = next(
            (key for key, options in (result["metrics"] or {}).items() if _label(options) == "PSNR-Y dB"), None
        )
        if metric is None:
            continue
        keys[_backbone(result), result["scale"]] = None
        for name in filter(_is_routed, rows):
            loss, share = rows[name][metric] - rows["dense"][metric], rows[name]["flops_share"]
            which = f"{Path(result['weights']).stem}, `{name}`"
            lines.append(f"| {which} | {result['set']} | {loss:+.3f} | {100 * share:.1f} |")
    for (backbone, scale), name in itertools.product(keys, SETS):
        theirs = routed(backbone, scale, name)
        if theirs is not None:
            gain, share = f"{theirs.psnr - theirs.whole:+.2f}", f"{100 * theirs.share:.1f}"
            lines.append(f"| the paper, {backbone} x{scale} | {name} | {gain} | {share} |")
    return "\n".join([*lines, ""])


def _is_routed(name: str) -> bool:
    """Whether a row is of patches that get different subnets, by a policy."""
    return name not in ("full", "dense", "bicubic") and re.fullmatch(r"w\d+d\d+", name) is None


def _backbone(result: Result) -> str:
    kind = str(result["network"]["backbone"]["type"])
    return _PAPER_NAMES.get(kind, kind)


def _label(options: dict[str, Any]) -> str:
    """The heading of a metric, such as `PSNR-Y dB`."""
    name = str(options["type"]).removeprefix("calculate_").upper()
    channel = "Y" if options.get("test_y_channel") else "RGB"
    return f"{name}-{channel}" + (" dB" if name == "PSNR" else "")


def _number(value: float, options: dict[str, Any]) -> str:
    return f"{value:.2f}" if options["type"] == "calculate_psnr" else f"{value:.4f}"
