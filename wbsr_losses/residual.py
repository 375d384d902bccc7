"""What y may be beside the pixel value: the residual, HR minus the bicubically upsampled LR image.

Smooth and textured patches have much the same colours, but not the same residuals: near zero where the image is smooth,
large at edges and in texture. The LR image is the one the model was given, or else the HR image's own bicubic
downsampling, which is how bicubic LR images are made; so stock models, which pass a loss no LR image, can use it too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wbsr_base.pixels.bicubic import interpolate


def bicubic_base(hr: Tensor, scale: int, lr: Tensor | None = None) -> Tensor:
    """The bicubically upsampled LR image; the residual is `hr` minus it. Without gradient.

    Args:
        hr: (N, C, H, W), range 0-1.
        scale: s, by which HR is larger than LR.
        lr: (N, C, H / s, W / s); None takes the antialiased bicubic downsampling of `hr`.

    Returns:
        (N, C, H, W).

    Raises:
        ValueError: a side of `hr` that s does not divide, or an `lr` of another size.
    """
    height, width = hr.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"sides of HR images must be multiples of scale = {scale}, got {height} x {width}")
    small = (*hr.shape[:-2], height // scale, width // scale)
    if lr is not None and lr.shape != small:
        raise ValueError(f"the LR image must be {tuple(small)} for scale = {scale}, got {tuple(lr.shape)}: set scale")
    with torch.no_grad():
        if lr is None:
            lr = interpolate(hr, *small[-2:])
        return interpolate(lr.to(hr), height, width)
