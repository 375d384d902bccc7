"""Pictures of what dynamic inference did: the image in grey, each patch tinted by its subnet or by its score, from blue
(cheap, flat) to red (dear, textured), and a legend below."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

TINT = 0.45  # share of the colour in the mixture
NO_SUBNET_COLOUR = np.array([[128, 128, 128]], np.uint8)  # BGR
_LINE = 26  # pixels of a legend's line at the smallest size
_FONT = cv2.FONT_HERSHEY_SIMPLEX

Image = NDArray[np.uint8]  # (H, W, 3), BGR


def draw_subnet_map(image: Image, choice: NDArray[np.integer], cell: int, num_subnets: int) -> Image:
    """Tint an image by subnet.

    Args:
        image: uint8 BGR (H, W, 3), or grey (H, W).
        choice: (rows, cols) subnet numbers, 0 the cheapest; -1, no subnet, is tinted grey.
        cell: side of a patch in pixels of `image`.
        num_subnets: M.

    Returns:
        uint8 BGR (H, W, 3).
    """
    return _tint(image, np.vstack([subnet_colours(num_subnets), NO_SUBNET_COLOUR])[choice], cell)


def draw_score_map(image: Image, scores: NDArray[np.floating], cell: int, highest: float) -> Image:
    """Tint an image by score, from 0 to `highest`.

    Args:
        image: uint8 BGR (H, W, 3).
        scores: (rows, cols), from 0.
        cell: side of a patch in pixels of `image`.
        highest: the score that gets the last colour, above 0.

    Returns:
        uint8 BGR (H, W, 3).
    """
    return _tint(image, score_colours(scores, highest), cell)


def subnet_colours(num_subnets: int) -> NDArray[np.uint8]:
    """One BGR colour per subnet in order of cost: uint8 (M, 3)."""
    return _colours(np.linspace(0, 1, num_subnets))


def score_colours(scores: NDArray[np.floating], highest: float) -> NDArray[np.uint8]:
    """The BGR colours of scores of any shape between 0 and `highest`: uint8 (..., 3)."""
    return _colours(np.clip(np.asarray(scores, dtype=np.float64) / highest, 0, 1))


def add_legend(image: Image, entries: Sequence[tuple[Sequence[int], str]]) -> Image:
    """Put a white strip with coloured boxes and their texts below an image; a narrow image is widened by white.

    Args:
        image: uint8 BGR (H, W, 3).
        entries: BGR colour and text of each box.

    Returns:
        uint8 BGR, at least as high and wide.
    """
    line = max(_LINE, image.shape[1] // 50)
    size = line / 40  # of the font, whose capitals are about 22 pixels high at 1
    advance = max(cv2.getTextSize(text, _FONT, size, 1)[0][0] for _, text in entries) + 2 * line
    width = max(image.shape[1], advance)
    columns = width // advance
    strip = np.full((line * -(-len(entries) // columns), width, 3), 255, np.uint8)
    for number, (colour, text) in enumerate(entries):
        x, y = number % columns * advance, number // columns * line
        corner, edge = (x + line // 4, y + line // 4), (x + line, y + line - line // 4)
        cv2.rectangle(strip, corner, edge, [int(value) for value in colour], cv2.FILLED)
        at = (x + line + line // 3, y + line - line // 3)
        cv2.putText(strip, text, at, _FONT, size, (0, 0, 0), max(1, line // 24), cv2.LINE_AA)
    padding = ((0, 0), (0, width - image.shape[1]), (0, 0))
    return np.vstack([np.pad(image, padding, constant_values=255), strip])


def _tint(image: Image, colours: NDArray[np.uint8], cell: int) -> Image:
    """Mix the image in grey with one colour (rows, cols, 3) per patch; what lies past the last has its colour."""
    rows, cols = (
        np.minimum(np.arange(side) // cell, count - 1)
        for side, count in zip(image.shape[:2], colours.shape[:2], strict=True)
    )
    luma = image if image.ndim == 2 or image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    grey = cv2.cvtColor(luma, cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.addWeighted(grey, 1 - TINT, colours[rows[:, None], cols[None, :]], TINT, 0), dtype=np.uint8)


def _colours(levels: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Levels of 0-1, of any shape, on the colour scale, without its darkest ends."""
    steps = np.asarray(25 + 205 * levels).round().astype(np.uint8)
    return np.asarray(cv2.applyColorMap(steps.reshape(-1, 1), cv2.COLORMAP_TURBO).reshape(*steps.shape, 3))
