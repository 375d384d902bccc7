"""Pictures to what networks take, and what they make to pictures."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wbsr_base.pixels.picture import Picture, Pixels


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
