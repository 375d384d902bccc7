"""A picture of which subnet each patch got: the image in grey, each patch tinted from blue (cheap) to red (dear)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

TINT = 0.45  # share of the colour in the mixture


def draw_subnet_map(
    image: NDArray[np.uint8], choice: NDArray[np.integer], cell: int, num_subnets: int
) -> NDArray[np.uint8]:
    """Tint an image by subnet.

    Args:
        image: uint8 BGR (H, W, 3).
        choice: (rows, cols) subnet numbers, 0 the cheapest.
        cell: side of a patch in pixels of `image`.
        num_subnets: M.

    Returns:
        uint8 BGR (H, W, 3).
    """
    height, width = image.shape[:2]
    rows, cols = np.arange(height) // cell, np.arange(width) // cell
    colours = subnet_colours(num_subnets)[choice]
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    mixed = (1 - TINT) * grey + TINT * colours[rows[:, None], cols[None, :]]
    return np.asarray(mixed.round(), dtype=np.uint8)


def subnet_colours(num_subnets: int) -> NDArray[np.uint8]:
    """One BGR colour per subnet in order of cost: uint8 (M, 3)."""
    levels = np.linspace(25, 230, num_subnets).round().astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels[:, None], cv2.COLORMAP_TURBO)[:, 0], dtype=np.uint8)
