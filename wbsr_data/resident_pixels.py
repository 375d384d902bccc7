"""One side of all pairs, LR or HR, as one array on a device, and the patches of a batch as one gather out of it.

A crop with its flips is an affine walk: the pixel in row i and column j of a patch lies at

    start + i · down + j · right

of its image's pixels in a row, where flips turn a step's sign and set the start at the other end, and a transposition
swaps the steps. So a batch is described by three whole numbers for each patch, which the host works out, and the device
does the rest without a branch. What comes out is what `Crop.cut` and `to_float` make of the same pixels, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wbsr_data.crop import Crops

Steps = NDArray[np.int64]
Image = NDArray[Any]  # (H, W, C), uint8 or uint16 in BGR, or float32 of one channel

_STORED = {"uint8": torch.uint8, "uint16": torch.int16, "float32": torch.float32}
_WIDEN = 257  # an 8-bit value times this, of 65535, is the number that it was of 255


class DeepError(Exception):
    """An image of 16 bits among those of 8."""


class Pixels:
    """The images of one side.

    Args:
        shapes: (n, 2), height and width of each image.
        kind: `uint8`, `uint16` (which takes 8-bit images as well), or `float32`.
        channels: of an image.
        scale: how many times they are as large as the LR images.
        device: where they lie.
        used_on: where patches become floats.
    """

    def __init__(
        self,
        shapes: NDArray[np.int64],
        kind: str,
        channels: int,
        scale: int,
        device: torch.device,
        used_on: torch.device,
    ) -> None:
        areas = shapes.prod(1)
        self.scale, self.kind, self.device = scale, kind, device
        self._widths = shapes[:, 1]
        self._begins = np.concatenate([[0], np.cumsum(areas)])
        self._values = torch.empty(channels, int(areas.sum()), dtype=_STORED[kind], device=device)
        self._channels = (torch.arange(channels, device=device) * self._values.shape[1]).view(1, -1, 1, 1)
        if kind != "float32":
            # A tensor on the device, for by a number CUDA multiplies with its reciprocal, which is another last bit.
            self._largest = torch.tensor(float(np.iinfo(kind).max), dtype=torch.float32, device=used_on)

    def put(self, number: int, image: Image) -> None:
        """Take in an image of the shape that was announced.

        Raises:
            DeepError: it has 16 bits, and 8 were expected.
        """
        if image.dtype == np.uint16 and self.kind == "uint8":
            raise DeepError
        if image.dtype == np.uint8 and self.kind == "uint16":
            image = image.astype(np.uint16) * np.uint16(_WIDEN)
        planes = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))  # RGB
        planes = planes.view(np.int16) if self.kind == "uint16" else planes
        begin, end = self._begins[number : number + 2].tolist()
        self._values[:, begin:end] = torch.from_numpy(planes).flatten(1).to(self.device)

    def walks(self, crops: Crops, size: int) -> tuple[Steps, Steps, Steps]:
        """`start`, `down` and `right` of each patch (n,).

        Args:
            crops: what to cut.
            size: side of a patch in LR pixels.
        """
        last, width = self.scale * size - 1, self._widths[crops.image]
        start = self._begins[crops.image] + self.scale * (crops.y * width + crops.x)
        start = start + np.where(crops.vflip, last * width, 0) + np.where(crops.hflip, last, 0)
        down, right = np.where(crops.vflip, -width, width), np.where(crops.hflip, -1, 1)
        swap = crops.transpose
        return start, np.where(swap, right, down), np.where(swap, down, right)

    def gather(self, walks: Tensor, side: int) -> Tensor:
        """The patches (n, C, side, side) as they are stored.

        Args:
            walks: (3, n), what `walks` returned, on the device of the images.
            side: of a patch in their own pixels.
        """
        start, down, right = walks[:, :, None, None, None]
        count = torch.arange(side, device=self.device)
        places = start + self._channels + down * count[:, None] + right * count
        return self._values.flatten().index_select(0, places.flatten()).view(places.shape)

    def to_float(self, patches: Tensor) -> Tensor:
        """What `gather` returned, moved to where it is used, as float32, range 0-1."""
        if self.kind == "float32":
            return patches
        values = patches.int().bitwise_and_(0xFFFF) if self.kind == "uint16" else patches
        return values.float().div_(self._largest)
