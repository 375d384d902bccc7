"""Pictures to what networks take, and what they make to pictures.

A network of three channels takes RGB, grey as three equal channels. One of a single channel takes luma as BasicSR makes
it for `color: y` (BT.601, 16 to 235 of 255); the two channels of chroma are upscaled by bicubic then.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wbsr_base.pixels.bicubic import interpolate
from wbsr_base.pixels.luma import BLACK, SPAN, in_channels, luma
from wbsr_base.pixels.picture import Picture, Pixels


def check_channels(channels: int) -> None:
    """Refuse networks that are for something else than pictures.

    Raises:
        ValueError: another number of input channels than 1 or 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"pictures can be upscaled by networks of 1 or 3 input channels, got one of {channels}")


def shows_grey(picture: Picture) -> bool:
    """Whether it has one channel of colour, or three that are equal everywhere."""
    first = picture.colour[..., :1]
    return picture.is_grey or np.array_equal(np.broadcast_to(first, picture.colour.shape), picture.colour)


def to_tensor(picture: Picture, channels: int = 3) -> Tensor:
    """The colour of a picture: float32 (channels, H, W), range 0-1.

    Args:
        picture: grey becomes three equal channels.
        channels: 3 for RGB, 1 for luma.

    """
    planes = np.ascontiguousarray(picture.colour.transpose(2, 0, 1)).astype(np.float32)
    rgb = torch.from_numpy(planes).div_(float(np.iinfo(picture.colour.dtype).max)).expand(3, -1, -1)
    return in_channels(rgb, channels)


def from_tensor(sr: Tensor, like: Picture) -> Picture:
    """An upscaled picture, with depth, greyness, alpha (upscaled by bicubic) and metadata as in `like`.

    Args:
        sr: (3, scale H, scale W), or (1, scale H, scale W) of luma, float, range 0-1; it is overwritten, for at 8K
            every copy counts.
        like: the picture that was upscaled. Where its channels are equal, the result's are.
    """
    top = float(np.iinfo(like.colour.dtype).max)
    grey = shows_grey(like)
    if sr.shape[0] == 1:
        sr = _from_luma(sr, None if grey else to_tensor(like))
    elif grey:
        sr = sr.mean(dim=0, keepdim=True)
    planes = sr.clamp_(0, 1).mul_(top).round_()
    if like.is_deep:
        colour: Pixels = planes.permute(1, 2, 0).float().cpu().numpy().astype(np.uint16)
    else:
        colour = planes.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    if grey and not like.is_grey:
        colour = np.repeat(colour, 3, axis=2)
    return Picture(colour, _resized(like.alpha, (sr.shape[2], sr.shape[1])), like.icc, like.exif, like.lossless)


def bicubic(picture: Picture, scale: int) -> Picture:
    """The picture upscaled by bicubic interpolation, as a baseline to compare with."""
    height, width = (scale * side for side in picture.size)
    planes = [_resized(picture.colour[..., i], (width, height)) for i in range(picture.colour.shape[2])]
    return Picture(np.stack([plane for plane in planes if plane is not None], axis=2))


def _from_luma(sr: Tensor, lr: Tensor | None) -> Tensor:
    """Luma (1, H, W) as grey (1, H, W), or with the chroma of the LR image as RGB (3, H, W).

    What luma gains over that of the interpolated LR image is added to its three channels alike, which leaves chroma as
    it is.
    """
    if lr is None:
        return sr.mul_(255 / SPAN).sub_(BLACK / SPAN)
    smooth = interpolate(lr.to(sr)[None], *sr.shape[-2:])[0]
    return smooth.add_((sr - luma(smooth)).mul_(255 / SPAN))


def _resized(plane: Pixels | None, size: tuple[int, int]) -> Pixels | None:
    """A plane (H, W) resized to `size` (width, height) by bicubic interpolation, in float, so of any depth."""
    if plane is None:
        return None
    resized = np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    return np.asarray(resized.round().clip(0, np.iinfo(plane.dtype).max), dtype=plane.dtype)
