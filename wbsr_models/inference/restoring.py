"""Flat places of an image as interpolation gives them, whatever network has run over them.

A tile may be wider than the patches that need it, and a patch with a line of text is mostly paper: a network leaves
there 253 of 255. What `wbsr_data.flatness` calls flat is interpolated after the run, pixel by pixel, so no border of a
patch or tile shows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wbsr_base.pixels.bicubic import interpolate
from wbsr_models.routing.flat import Flat

_PIXELS = {"cpu": 2**17, "cuda": 2**20}  # LR pixels of the rows that are interpolated at a time
_SUPPORT = 3  # LR pixels around a place that interpolation reads, and one more


@torch.no_grad()
def restore_flat(sr: Tensor, lr: Tensor, flat: Flat) -> None:
    """Interpolate the flat places of an LR image into its result, in place.

    Args:
        sr: (C, scale H, scale W), on any device.
        lr: (C, H, W), float, range 0-1.
        flat: where it is flat.
    """
    height, width = lr.shape[-2:]
    scale = sr.shape[-1] // width
    pixels, rows = flat.pixels.to(sr.device), max(1, _PIXELS[sr.device.type] // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        if not flat.rows[top:bottom].any():
            continue
        first, last = max(top - _SUPPORT, 0), min(bottom + _SUPPORT, height)
        band = lr[:, first:last].to(sr)
        smooth = interpolate(band[None], scale * (last - first), scale * width)[0]
        smooth = smooth[:, scale * (top - first) : scale * (bottom - first)]
        places = pixels[top:bottom].repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        target = sr[:, scale * top : scale * bottom]
        torch.where(places, smooth, target, out=target)
