"""A picture as `wbsr upscale` handles it: colour, alpha, and what its file says beside the pixels.

Pictures stand upright: an EXIF orientation is applied when a file is read, and not written again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels of 8 or 16 bits.

    `colour`: (H, W, 3) RGB or (H, W, 1) grey; `alpha`: (H, W) of the same depth, or None; `icc`: the colour profile;
    `exif`: camera, date, place and the like, as an EXIF block without orientation.
    """

    colour: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def is_grey(self) -> bool:
        return bool(self.colour.shape[2] == 1)

    @property
    def is_deep(self) -> bool:
        """Whether it has 16 bits per channel."""
        return bool(self.colour.dtype == np.uint16)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.colour.shape[0], self.colour.shape[1]


def to_tensor(picture: Picture) -> Tensor:
    """The colour of a picture, grey as three equal channels: float32 (3, H, W), range 0-1."""
    planes = np.ascontiguousarray(picture.colour.transpose(2, 0, 1)).astype(np.float32)
    return torch.from_numpy(planes).div_(float(np.iinfo(picture.colour.dtype).max)).expand(3, -1, -1)


def from_tensor(sr: Tensor, like: Picture) -> Picture:
    """An upscaled picture, with depth, greyness, alpha (upscaled by bicubic) and metadata as in `like`.

    Args:
        sr: (3, scale H, scale W), float, range 0-1; it is overwritten, for at 8K every copy counts.
        like: the picture that was upscaled.
    """
    top = float(np.iinfo(like.colour.dtype).max)
    planes = (sr.mean(dim=0, keepdim=True) if like.is_grey else sr).clamp_(0, 1).mul_(top).round_()
    if like.is_deep:
        colour: Pixels = planes.permute(1, 2, 0).float().cpu().numpy().astype(np.uint16)
    else:
        colour = planes.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return Picture(colour, _resized(like.alpha, (sr.shape[2], sr.shape[1])), like.icc, like.exif)


def bicubic(picture: Picture, scale: int) -> Picture:
    """The picture upscaled by bicubic interpolation, as a baseline to compare with."""
    height, width = (scale * side for side in picture.size)
    planes = [_resized(picture.colour[..., i], (width, height)) for i in range(picture.colour.shape[2])]
    return Picture(np.stack([plane for plane in planes if plane is not None], axis=2))


def _resized(plane: Pixels | None, size: tuple[int, int]) -> Pixels | None:
    """A plane (H, W) resized to `size` (width, height) by bicubic interpolation, in float, so of any depth."""
    if plane is None:
        return None
    resized = np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    return np.asarray(resized.round().clip(0, np.iinfo(plane.dtype).max), dtype=plane.dtype)
