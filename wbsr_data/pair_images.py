"""The images behind the crops of a training: read, decoded once where memory allows, checked, indexed, and cut."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from wbsr_base.pixels.images import Pixels, check_image, decode_pixels, to_float
from wbsr_data.crop import Crop
from wbsr_data.image_cache import ImageCache
from wbsr_data.index_cache import DEFAULT_FOLDER, cache_key, cached_index
from wbsr_data.patch_index import IndexSettings, PatchIndex
from wbsr_data.reader import PairReader, Side

Image = NDArray[np.float32]


class PairImages:
    """LR/HR pairs by number; usable from several threads, and in workers.

    Args:
        reader: gives the encoded images.
        scale: how many times an HR image is as large as its LR image.
        patch_size: LR pixels.
        decoded_mb: MB of decoded images that are kept.
    """

    def __init__(self, reader: PairReader, scale: int, patch_size: int, decoded_mb: int) -> None:
        self.reader, self.scale, self.patch_size = reader, scale, patch_size
        self._decoded = ImageCache(2 * len(reader), decoded_mb)

    def fetch(self, crop: Crop) -> tuple[Image, Image]:
        """The LR and the HR patch of a crop.

        Returns:
            float32 (patch_size, patch_size, 3) and (scale·patch_size, scale·patch_size, 3), BGR, range 0-1, contiguous.

        Raises:
            ValueError: an image is damaged, has shrunk, or the sizes do not match the scale.
            FileNotFoundError: an image is gone.
        """
        lr, hr = self.load(crop.image)
        size = self.patch_size
        self.check_crop(crop.image, crop.y, crop.x, lr.shape)
        lr_patch, hr_patch = crop.cut(lr, size), crop.cut(hr, size, self.scale)
        return to_float(np.ascontiguousarray(lr_patch)), to_float(np.ascontiguousarray(hr_patch))

    def load(self, number: int) -> tuple[Pixels, Pixels]:
        """The whole LR and HR image of a pair, uint8 or uint16 (H, W, 3) BGR; not to be written to.

        Raises:
            ValueError, FileNotFoundError: as for `fetch`.
        """
        slots = (2 * number, 2 * number + 1)
        lr, hr = (self._decoded.get(slot) for slot in slots)
        if lr is None or hr is None:
            lr = self.decode(number, "lq")
            hr = self.decode_hr(number, lr.shape[:2])
            for slot, pixels in zip(slots, (lr, hr), strict=True):
                self._decoded.put(slot, pixels)
        return lr, hr

    def decode(self, number: int, side: Side) -> Pixels:
        """A whole image, decoded anew and kept nowhere; raises what `load` does."""
        return decode_pixels(self.reader.read(number, side), self.reader.name(number, side))

    def decode_hr(self, number: int, lr: tuple[int, ...]) -> Pixels:
        """An HR image, decoded anew, whose LR image is `lr` high and wide; raises what `load` does."""
        hr = self.decode(number, "gt")
        self._check_sizes(number, lr, hr.shape[:2])
        return hr

    def check_crop(self, number: int, y: int, x: int, lr: tuple[int, ...]) -> None:
        """Refuse an LR image `lr` high and wide which doesn't reach as far as a crop.

        Raises:
            ValueError: it has shrunk since it was indexed.
        """
        if y + self.patch_size > lr[0] or x + self.patch_size > lr[1]:
            raise ValueError(
                f"{self.reader.name(number, 'lq')} has shrunk since it was indexed: start the training again"
            )

    def index(self, settings: IndexSettings, cache: bool | str, progress: bool = True) -> PatchIndex:
        """The index of all candidates: from the cache, or by scoring every LR image, each pair checked.

        Args:
            settings: what candidates there are, and how they are scored.
            cache: whether the index is kept on disk; or in which folder.
            progress: show a progress bar.

        Raises:
            ValueError: an image is damaged, the sizes of a pair do not match the scale, or as in `PatchIndex.build`.
            FileNotFoundError: an image is missing.
        """
        names = [self.reader.name(number, "lq") for number in range(len(self.reader))]

        def build() -> PatchIndex:
            return PatchIndex.build(self._load_lr, names, settings, progress, partial(self.decode, side="gt"))

        try:
            stamps = self.reader.stamps()
            if cache is False:
                return build()
            key = cache_key(settings, [*stamps, ("scale", self.scale, 0)], names)
            return cached_index(DEFAULT_FOLDER if cache is True else cache, key, build)
        finally:
            self.reader.close()

    def _load_lr(self, number: int) -> Pixels:
        """An LR image, once its HR image is known to fit."""
        lr = self.decode(number, "lq")
        hr = check_image(self.reader.read(number, "gt"), self.reader.name(number, "gt"))
        self._check_sizes(number, lr.shape[:2], hr)
        return lr

    def _check_sizes(self, number: int, lr: tuple[int, ...], hr: tuple[int, ...]) -> None:
        scale = self.scale
        if (lr[0] * scale, lr[1] * scale) != tuple(hr):
            raise ValueError(
                f"an HR image must be {scale} times its LR image, got {hr[0]} x {hr[1]} for "
                f"{self.reader.name(number, 'gt')} and {lr[0]} x {lr[1]} for {self.reader.name(number, 'lq')}: "
                "prepare the pair again"
            )
