"""Windows of one size cut out of an image, all in one operation, on the image's device."""

from __future__ import annotations

from torch import Tensor


def cut(image: Tensor, tops: Tensor, lefts: Tensor, height: int, width: int) -> Tensor:
    """Rows [top, top + height) and columns [left, left + width) of an image, for each pair of a top and a left.

    Args:
        image: (C, H, W).
        tops: int64 (n,), on the image's device, in [0, H - height].
        lefts: int64 (n,), likewise, in [0, W - width].
        height: pixels, at most H.
        width: pixels, at most W.

    Returns:
        (n, C, height, width), a copy; channels-last where the image is.
    """
    (channels, rows, cols), (plane, down, across) = image.shape, image.stride()
    shape, strides = (rows - height + 1, cols - width + 1, height, width, channels), (down, across, down, across, plane)
    everywhere = image.as_strided(shape, strides, image.storage_offset())
    return everywhere[tops, lefts].permute(0, 3, 1, 2)
