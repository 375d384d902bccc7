"""EXIF: the orientation that a picture is turned by, and what is carried over to its result."""

from __future__ import annotations

import logging

import numpy as np
from PIL import ExifTags, Image

from wbsr_base.pixels.opening import DAMAGE
from wbsr_base.pixels.picture import Pixels

_logger = logging.getLogger("wbsr")

_TAGS = tuple(
    tag.value
    for tag in (
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.Copyright,
    )
)
_BLOCKS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_STALE = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)


def turn_of(exif: Image.Exif) -> int:
    """The orientation of an EXIF block, 1 to 8; 1 where it says nothing."""
    turn = exif.get(ExifTags.Base.Orientation, 1)
    return turn if isinstance(turn, int) else 1


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels (H, W, ...) as an EXIF orientation of 1 to 8 wants them shown; any other value changes nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def carried(exif: Image.Exif, name: str) -> bytes | None:
    """What an EXIF block says of the shot, without orientation, sizes and thumbnail, which no longer fit."""
    kept = Image.Exif()
    try:
        for tag in _TAGS:
            if tag in exif:
                kept[tag] = exif[tag]
        for block in _BLOCKS:
            values = {tag: value for tag, value in exif.get_ifd(block).items() if tag not in _STALE}
            if values:
                kept[block] = values
        return kept.tobytes() if len(kept) else None
    except DAMAGE as error:
        _logger.warning("%s: its EXIF is damaged and left out (%s).", name, error)
        return None
