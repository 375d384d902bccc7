"""A picture file's content: colour, alpha, and what the file says beside the pixels.

Pictures stand upright: an EXIF orientation is applied when a file is read, and not written again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels of 8 or 16 bits.

    `colour`: (H, W, 3) RGB or (H, W, 1) grey; `alpha`: (H, W) of the same depth, 0 is transparent, or None; `icc`: the
    colour profile; `exif`: camera, date, place and the like, as an EXIF block without orientation; `lossless`: whether
    it came from a WebP without loss.
    """

    colour: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    lossless: bool = False

    @property
    def is_grey(self) -> bool:
        """Whether it has one channel of colour."""
        return bool(self.colour.shape[2] == 1)

    @property
    def is_deep(self) -> bool:
        """Whether it has 16 bits per channel."""
        return bool(self.colour.dtype == np.uint16)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.colour.shape[0], self.colour.shape[1]
