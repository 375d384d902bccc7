"""Pictures whose borders meet, such as textures that are tiled: a border reads the opposite side.

The picture is continued on both sides by what lies on the other, by whole patches so that it is cut into the same ones,
and the result is cut back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wbsr_base.pixels.picture import Picture, Pixels

Wrap = Literal["none", "x", "y", "both"]  # which borders meet: left and right, top and bottom


def margins(wrap: Wrap, patch_size: int) -> tuple[int, int]:
    """LR pixels that a picture is continued by above and below, and left and right."""
    return patch_size if wrap in ("y", "both") else 0, patch_size if wrap in ("x", "both") else 0


def continued(picture: Picture, down: int, across: int) -> Picture:
    """The picture with so many pixels of its opposite sides around it."""
    if not (down or across):
        return picture
    rows, cols = (
        np.arange(-around, side + around) % side for side, around in zip(picture.size, (down, across), strict=True)
    )
    places = np.ix_(rows, cols)
    alpha = None if picture.alpha is None else picture.alpha[places]
    return replace(picture, colour=picture.colour[places], alpha=alpha)


def cut_back(picture: Picture, down: int, across: int) -> Picture:
    """The picture without so many pixels on its sides."""
    if not (down or across):
        return picture

    def inner(planes: Pixels) -> Pixels:
        return np.ascontiguousarray(planes[down : planes.shape[0] - down, across : planes.shape[1] - across])

    return replace(picture, colour=inner(picture.colour), alpha=None if picture.alpha is None else inner(picture.alpha))


def own_patches(patches: NDArray[Any], size: tuple[int, int], down: int, across: int, patch_size: int) -> NDArray[Any]:
    """Of what is known of the patches of a continued picture, (rows, cols), that of those which the picture of `size`
    (height, width) has."""
    rows, cols = (-(-side // patch_size) for side in size)
    first, left = down // patch_size, across // patch_size
    return patches[first : first + rows, left : left + cols]
