"""What becomes of one HR image: its rescaled versions, their LR images, and the sub-images of both.

    HR image -> rescaled by each factor -> cropped to a multiple of all scales -> LR image of each scale -> sub-images

LR images are made of whole images and then cut, so that a sub-image has no border of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from wbsr_base.pixels.bicubic import Bytes, crop_to_multiple, resize

CLASSSR_FACTORS = (1.0, 0.9, 0.8, 0.7, 0.6)
HR = "HR"


def lr_name(scale: int) -> str:
    """What the LR images of a scale are called: their folder, or their LMDB without its ending."""
    return f"LRx{scale}"


def scale_of(folder: str) -> int:
    """The scale of the images in a folder that `lr_name` names; 1 for the HR images."""
    return 1 if folder == HR else int(folder.removeprefix(lr_name(0)[:-1]))


@dataclass(frozen=True)
class Recipe:
    """What is made of each HR image.

    Args:
        scales: of the LR images, each at least 2. HR images are cropped to a multiple of all of them.
        sub_images: side of square sub-images in HR pixels; None keeps images whole. An image with a shorter side keeps
            that side whole.
        step: distance of sub-images in HR pixels; None is half their side. The last one is shifted inwards, so nothing
            is lost.
        rescale: factors in (0, 1] by which an HR image is resized first, as in ClassSR.

    Raises:
        ValueError: a number out of its range, or a side or step that is no multiple of all scales.
    """

    scales: tuple[int, ...]
    sub_images: int | None = None
    step: int | None = None
    rescale: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) < 2 or len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales must be different whole numbers of at least 2, got {list(self.scales)}")
        if not self.rescale or len(set(self.rescale)) < len(self.rescale):
            raise ValueError(f"rescale factors must be different numbers, got {list(self.rescale)}")
        if not all(0 < factor <= 1 for factor in self.rescale):
            raise ValueError(f"rescale factors must be in (0, 1], got {list(self.rescale)}")
        if self.step is not None and self.sub_images is None:
            raise ValueError(f"step needs sub_images, got step {self.step} alone: add the side of the sub-images")
        for name, length in (("sub_images", self.sub_images), ("step", self.sub_images and self.sub_step)):
            if length is not None and (length < 1 or length % self.multiple):
                raise ValueError(f"{name} must be a multiple of {self.multiple} (all scales), got {length}")

    @property
    def multiple(self) -> int:
        """What both sides of every HR image are a multiple of: the least common multiple of the scales."""
        return math.lcm(*self.scales)

    @property
    def sub_step(self) -> int:
        """The distance of sub-images in HR pixels."""
        half = (self.sub_images or 0) // 2
        return half - half % self.multiple if self.step is None else self.step

    @property
    def folders(self) -> tuple[str, ...]:
        """What is made, HR first."""
        return (HR, *(lr_name(scale) for scale in self.scales))

    def apply(self, pixels: Bytes, key: str, name: str) -> Iterator[tuple[str, dict[str, Bytes]]]:
        """Make everything out of one HR image.

        Args:
            pixels: (H, W, 3).
            key: what the images made are called, with a suffix where one image becomes several.
            name: what errors call the HR image.

        Yields:
            A key, and the pixels for each of `folders`.

        Raises:
            ValueError: the image, rescaled, has a side of less than `multiple`.
        """
        for factor in self.rescale:
            if min(math.ceil(side * factor) for side in pixels.shape[:2]) < self.multiple:
                height, width = pixels.shape[:2]
                after = "" if factor == 1 else f" after rescaling by {factor:g}"
                raise ValueError(
                    f"{name} must have at least {self.multiple} pixels in height and width (all scales){after}, got "
                    f"{height} x {width}: remove it"
                )
            hr = crop_to_multiple(resize(pixels, factor), self.multiple)
            named = f"{key}_r{factor:g}".replace(".", "p") if len(self.rescale) > 1 else key
            made = {HR: hr, **{lr_name(scale): resize(hr, 1 / scale) for scale in self.scales}}
            yield from self._cut(made, named)

    def _cut(self, made: dict[str, Bytes], key: str) -> Iterator[tuple[str, dict[str, Bytes]]]:
        if self.sub_images is None:
            yield key, made
            return
        height, width = made[HR].shape[:2]
        rows, cols = (_starts(side, self.sub_images, self.sub_step) for side in (height, width))
        for number, (row, col) in enumerate(itertools.product(rows, cols), start=1):
            parts = {}
            for folder, scale in zip(self.folders, (1, *self.scales), strict=True):
                y, x, side = row // scale, col // scale, self.sub_images // scale
                parts[folder] = made[folder][y : y + side, x : x + side]
            yield f"{key}_s{number:03}", parts


def _starts(length: int, side: int, step: int) -> list[int]:
    """Where sub-images start along a side: the last one is shifted inwards to end with it."""
    last = max(length - side, 0)
    return [min(start, last) for start in range(0, last + step, step)]
