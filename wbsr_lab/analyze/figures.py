"""The picture of the imbalance: one PNG for each question, drawn from the numbers in the JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from wbsr_base.pixels.bicubic import to_8_bits
from wbsr_data.patch_index import PatchIndex
from wbsr_lab.analyze.imbalance import LEVELS
from wbsr_lab.analyze.pairs import Pairs

matplotlib.use("Agg")
from matplotlib import pyplot

Found = dict[str, Any]

EASY, MEDIUM, HARD = "#7fb2d6", "#e8b45c", "#c44e52"
GREY = "#9a9a9a"
EXAMPLES = 8  # patches of each class
SCORE_LABELS = {
    "norm": "score: RMS gradient magnitude of the LR patch (luma 0-1 per pixel)",
    "mean": "score: mean gradient magnitude of the LR patch (luma 0-1 per pixel)",
    "std": "score: standard deviation of the LR patch's gradient magnitude (luma 0-1 per pixel)",
    "bilinear": "score: RMSE of bilinear upsampling (RGB, range 0-1)",
}
CHANNELS = (("R", "#c44e52"), ("G", "#55a868"), ("B", "#4c72b0"))


def draw_scores(found: Found, path: Path) -> None:
    """Histogram of the scores, with the class thresholds and the levels easy, medium, hard behind them."""
    edges, counts = np.array(found["scores"]["edges"]), np.array(found["scores"]["histogram"])
    low, high = found["levels"]["thresholds"]
    end = max(float(edges[-1]), high * 1.1)
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    spans = ((0, low, EASY), (low, high, MEDIUM), (high, end, HARD))
    for (left, right, colour), level in zip(spans, LEVELS, strict=True):
        share = found["levels"]["share"][level]
        axes.axvspan(left, right, color=colour, alpha=0.3, lw=0, label=f"{level}: {share:.1%} of the patches")
    axes.stairs(100 * counts / counts.sum(), edges, fill=True, color="0.25")
    for number, threshold in enumerate(found["classes"]["thresholds"]):
        label = f"class thresholds ({found['classes']['mode']})" if number == 0 else None
        axes.axvline(threshold, color="black", lw=0.8, ls=":", label=label)
    axes.set(xlabel=SCORE_LABELS[found["score"]], ylabel="patches, %")
    axes.set(title=f"{found['candidates']:,} candidate patches of {found['images']} images", xlim=(0, end))
    axes.legend(fontsize=9, framealpha=0.95)
    _save(figure, path)


def draw_levels(found: Found, path: Path) -> None:
    """Shares of easy, medium and hard patches, beside those that the paper gives for DIV2K (Figure 1a)."""
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    low, high = found["levels"]["thresholds"]
    rules = (f"score < {low:g}", f"{low:g} to {high:g}", f"score ≥ {high:g}")
    for offset, key, edge, label in ((-0.2, "share", "none", "here"), (0.2, "paper", "black", "paper, DIV2K")):
        values = [100 * found["levels"][key][level] for level in LEVELS]
        alpha = 1.0 if key == "share" else 0.4
        bars = axes.bar(np.arange(3) + offset, values, 0.38, color=(EASY, MEDIUM, HARD), edgecolor=edge, alpha=alpha)
        axes.bar_label(bars, [f"{value:.1f}" for value in values], fontsize=9)
        axes.bar(0, 0, color=GREY, edgecolor=edge, alpha=alpha, label=label)
    axes.set_xticks(range(3), [f"{level}\n{rule}" for level, rule in zip(LEVELS, rules, strict=True)])
    axes.set(ylabel="share of the patches, %", title="Easy, medium and hard patches")
    axes.legend()
    _save(figure, path)


def draw_classes(found: Found, path: Path) -> None:
    """The share of the draws that each class gets before and after HES, and how often a patch of it is drawn."""
    classes = found["classes"]
    numbers = np.arange(1, len(classes["count"]) + 1)
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(8, 6), sharex=True, height_ratios=(3, 2), layout="constrained"
    )
    above.bar(numbers - 0.2, 100 * np.array(classes["share_uniform"]), 0.38, color=GREY, label="uniform drawing")
    rule = f" (Eq. 8, δ = {classes['delta']:g})" if classes["sampling"] == "hes" else ""
    label = f"class-level stage of {classes['sampling']}{rule}"
    above.bar(numbers + 0.2, 100 * np.array(classes["share_class_level"]), 0.38, color=HARD, label=label)
    label = f"whole training ({classes['sample_level']:.0%} uniform)"
    above.plot(numbers, 100 * np.array(classes["share_training"]), "k.--", lw=1, label=label)
    above.set(ylabel="share of the draws, %", title="Difficulty classes before and after")
    above.legend(fontsize=9)
    below.bar(numbers, classes["repeat"], 0.6, color=HARD)
    below.axhline(1, color="black", lw=0.8, ls="--", label="uniform drawing")
    if max(classes["repeat"]) > 0.5 * classes["max_repeat"]:
        below.axhline(classes["max_repeat"], color="black", lw=0.8, ls=":", label="bound (max_repeat)")
    below.set(xlabel="difficulty class (1 is the easiest)", ylabel="draws of one patch,\ntimes uniform")
    below.legend(fontsize=9)
    _class_ticks(below, numbers)
    _save(figure, path)


def draw_examples(pairs: Pairs, path: Path) -> None:
    """HR patches of every class, a row for each, spread evenly over the class's scores."""
    index, side = pairs.index, pairs.patch_size * pairs.scale
    pitch = side + max(side // 16, 1)
    canvas = np.full((index.num_classes * pitch, EXAMPLES * pitch, 3), 255, np.uint8)
    for candidate, (k, place) in sorted(_examples(index).items(), key=lambda item: int(index.image[item[0]])):
        _, hr = pairs.load(int(index.image[candidate]))
        row, col = int(index.y[candidate]) * pairs.scale, int(index.x[candidate]) * pairs.scale
        patch = to_8_bits(hr[row : row + side, col : col + side])[..., ::-1]
        canvas[k * pitch : k * pitch + side, place * pitch : place * pitch + side] = patch
    size = (EXAMPLES, min(0.94 * index.num_classes, 100) + 0.4)
    figure, axes = pyplot.subplots(figsize=size, layout="constrained")
    axes.imshow(canvas, interpolation="antialiased")
    axes.set_yticks(np.arange(index.num_classes) * pitch + side / 2, range(1, index.num_classes + 1))
    axes.tick_params(length=0)
    axes.set(
        xticks=[], frame_on=False, ylabel="difficulty class (1 is the easiest)", title=f"HR patches of {side} pixels"
    )
    _save(figure, path)


def _examples(index: PatchIndex) -> dict[int, tuple[int, int]]:
    """Candidates to show, with their row (class, from 0) and place in it."""
    chosen: dict[int, tuple[int, int]] = {}
    ends = np.cumsum(index.counts).tolist()
    for k, (end, count) in enumerate(zip(ends, index.counts.tolist(), strict=True)):
        ranked = end - count + np.argsort(index.score[end - count : end], kind="stable")
        shown = min(count, EXAMPLES)
        chosen |= {int(ranked[(2 * place + 1) * count // (2 * shown)]): (k, place) for place in range(shown)}
    return chosen


def draw_mixture(found: Found, pixels: NDArray[np.float64], path: Path) -> None:
    """Histogram of the HR pixel values of each channel, and the marginal density of the mixture of BDLoss over it."""
    mixture = {name: np.array(values) for name, values in found["mixture"].items()}
    x = np.linspace(0, 1, 512)
    figure, rows = pyplot.subplots(3, 1, figsize=(8, 7), sharex=True, layout="constrained")
    for channel, (axes, (name, colour)) in enumerate(zip(rows, CHANNELS, strict=True)):
        counts, edges = np.histogram(pixels[:, channel], 128, (0, 1))
        axes.stairs(
            counts / counts.sum() / np.diff(edges),
            edges,
            fill=True,
            color=colour,
            alpha=0.4,
            label=f"{name} of HR pixels",
        )
        mean, variance = mixture["means"][:, channel], mixture["covariances"][:, channel, channel]
        parts = (
            mixture["weights"] * np.exp(-((x[:, None] - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        )
        axes.plot(x, parts, color="0.4", lw=0.6)
        axes.plot(x, parts.sum(1), color="black", lw=1.4, label=f"mixture of {len(mean)} Gaussians")
        axes.set(
            ylabel="density", ylim=(0, 1.15 * max(np.percentile(counts, 98) * 128 / counts.sum(), parts.sum(1).max()))
        )
        axes.legend(fontsize=9, loc="upper right")
    rows[-1].set(xlabel="pixel value, 0-1", xlim=(0, 1))
    rows[0].set(title="p_train(y): HR pixel values and the Gaussian mixture (Eq. 11-14)")
    _save(figure, path)


def draw_quality(found: Found, path: Path) -> None:
    """PSNR, gain over bicubic and error pixels of each class (Figures 5 and 1b)."""
    quality = found["quality"]
    methods = quality["methods"]
    numbers = np.arange(1, len(found["classes"]["count"]) + 1)
    colours = dict(zip(methods, (GREY, "black", HARD), strict=False))
    figure, (psnr, gain, wrong) = pyplot.subplots(3, 1, figsize=(8, 9), sharex=True, layout="constrained")
    values = {m: {key: np.array(v, dtype=float) for key, v in each.items()} for m, each in methods.items()}
    width = 0.8 / len(methods)
    for place, (method, each) in enumerate(values.items()):
        psnr.plot(numbers, each["psnr_y"], "o-", color=colours[method], label=method)
        shift = (place - (len(methods) - 1) / 2) * width
        wrong.bar(numbers + shift, 100 * each["error_pixels"], 0.92 * width, color=colours[method], label=method)
        if method != "bicubic":
            over = each["psnr_y"] - values["bicubic"]["psnr_y"]
            gain.bar(numbers + shift - width / 2, over, 0.92 * width, color=colours[method], label=method)
    psnr.set(ylabel="PSNR-Y, dB", title=f"{Path(quality['weights']).name}: quality by difficulty class")
    gain.axhline(0, color="black", lw=0.8)
    gain.set(ylabel="gain over bicubic, dB")
    wrong.set(xlabel="difficulty class (1 is the easiest)")
    wrong.set(ylabel=f"error pixels, %\n(luma off by more than {quality['error_level']:g} of 255)")
    for axes in (psnr, gain, wrong):
        axes.legend(fontsize=9)
        axes.grid(axis="y", alpha=0.3)
    _class_ticks(wrong, numbers)
    _save(figure, path)


def _class_ticks(axes: Any, numbers: NDArray[np.int64]) -> None:
    if len(numbers) <= 20:
        axes.set_xticks(numbers)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
