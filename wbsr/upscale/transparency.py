"""What colour transparent pixels have: none that anybody saw, but upscaling mixes it into the edge of what is seen.

So transparent pixels get the colour of the nearest visible ones first, and a red disc on transparent black keeps a red
edge. Colours of visible pixels stay, half-transparent ones included: a soft shadow is black on purpose.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wbsr_base.pixels.picture import Picture

_FAINT = 64  # a pixel of less alpha than the picture's highest over this has no colour that could be told


def with_filled_colours(picture: Picture) -> Picture:
    """The picture with colours under transparent pixels as of the nearest visible ones.

    Opaque pictures, and those where nothing is visible, are returned as they are.
    """
    if picture.alpha is None or not picture.alpha.any():
        return picture
    hidden = picture.alpha.astype(np.float32) * _FAINT < picture.alpha.max()
    if not hidden.any():
        return picture
    from scipy.ndimage import distance_transform_edt

    rows, cols = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return replace(picture, colour=picture.colour[rows, cols])
