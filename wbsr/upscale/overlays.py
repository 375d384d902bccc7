"""The pictures beside a result: subnet map, score map, and bicubic beside SR."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from wbsr.upscale.picture import bicubic
from wbsr_arch.subnet import Subnet
from wbsr_base.pixels.picture import Picture
from wbsr_models.inference.report import Report
from wbsr_models.inference.subnet_map import (
    NO_SUBNET_COLOUR,
    add_legend,
    draw_score_map,
    draw_subnet_map,
    score_colours,
    subnet_colours,
)
from wbsr_models.inference.upscaler import DynamicUpscaler
from wbsr_models.routing.choice import NO_SUBNET, Scores

_SCORE_STEPS = 5  # of the legend
_PAPER = (255, 255, 255)  # a box that is not seen


def subnet_overlay(result: Picture, report: Report, upscaler: DynamicUpscaler) -> Picture:
    """The result tinted by subnet; the legend gives each subnet's share of the patches."""
    subnets = upscaler.network.subnets
    by_number = patches_by_subnet(report, subnets)
    image = draw_subnet_map(
        _eight_bit_bgr(result), report.choice, upscaler.patch_size * upscaler.network.scale, len(subnets)
    )
    colours = [*subnet_colours(len(subnets)).tolist(), *NO_SUBNET_COLOUR.tolist()][: len(by_number)]
    texts = [f"{name} {count / report.choice.size:.0%}" for name, count in by_number.items()]
    return _from_bgr(add_legend(image, list(zip(colours, texts, strict=True))))


def patches_by_subnet(report: Report, subnets: Sequence[Subnet]) -> dict[str, int]:
    """How many patches each subnet got, by name in order of FLOPs; `bicubic` comes last, and only where it got some."""
    counts = {str(subnet): int((report.choice == number).sum()) for number, subnet in enumerate(subnets)}
    interpolated = int((report.choice == NO_SUBNET).sum())
    return {**counts, "bicubic": interpolated} if interpolated else counts


def has_score_map(upscaler: DynamicUpscaler) -> bool:
    """Whether a patch has one score; a classifier gives it one for every subnet, which no tint shows."""
    side = upscaler.patch_size
    return upscaler.scores(torch.zeros(upscaler.network.in_channels, side, side, device=upscaler.device)).ndim == 2


def score_overlay(result: Picture, scores: Scores, upscaler: DynamicUpscaler) -> Picture:
    """The result tinted by the scores (rows, cols) of its LR patches, from 0 to the highest in this picture."""
    scores = np.nan_to_num(scores)  # flat patches have none
    highest = max(float(scores.max()), 1e-6)
    image = draw_score_map(_eight_bit_bgr(result), scores, upscaler.patch_size * upscaler.network.scale, highest)
    steps = np.linspace(0, highest, _SCORE_STEPS)
    colours = score_colours(steps, highest).tolist()
    texts = [f"score {step:.3f}" for step in steps]
    return _from_bgr(add_legend(image, list(zip(colours, texts, strict=True))))


def comparison(picture: Picture, result: Picture, scale: int) -> Picture:
    """Bicubic on the left, SR on the right, labelled; 8 bits, without alpha."""
    sides = {"bicubic": _eight_bit_bgr(bicubic(picture, scale)), "SR": _eight_bit_bgr(result)}
    labelled = [add_legend(image, [(_PAPER, label)]) for label, image in sides.items()]
    return _from_bgr(np.hstack(labelled))


def _eight_bit_bgr(picture: Picture) -> NDArray[np.uint8]:
    colour = (picture.colour / 257).round().astype(np.uint8) if picture.is_deep else picture.colour.astype(np.uint8)
    if picture.is_grey:
        return np.repeat(colour, 3, axis=2)
    return np.ascontiguousarray(colour[..., ::-1])


def _from_bgr(image: NDArray[np.uint8]) -> Picture:
    return Picture(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)))
