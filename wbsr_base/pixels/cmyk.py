"""CMYK to RGB by the colour profile that a file brings along: without one, nobody knows what its inks look like."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from wbsr_base.pixels.picture import Pixels

_DATE = slice(24, 36)  # of a profile's header


def to_srgb(inks: Pixels, profile: bytes | None, name: str) -> tuple[Pixels, bytes]:
    """CMYK pixels in sRGB.

    Args:
        inks: uint8 (H, W, 4), 255 is full ink.
        profile: the ICC profile of the file.
        name: what errors call it.

    Returns:
        uint8 (H, W, 3), and the profile of sRGB.

    Raises:
        ValueError: 16 bits, no profile, or one that is damaged or of other colours.
    """
    if inks.dtype != np.uint8:
        raise ValueError(f"{name} is CMYK of 16 bits, of which 8 can be converted: save it as RGB")
    if not profile:
        raise ValueError(
            f"{name} is CMYK without a colour profile, so nobody knows its colours: assign one, or save it as RGB "
            "from the program that made it"
        )
    target = ImageCms.createProfile("sRGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        image = Image.frombytes("CMYK", (inks.shape[1], inks.shape[0]), inks.tobytes())
        rgb = ImageCms.profileToProfile(image, source, target, ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ValueError(f"{name} is CMYK whose colour profile can't be used ({error}): save it as RGB") from error
    if rgb is None:
        raise ValueError(f"{name} is CMYK whose colour profile can't be used: save it as RGB")
    return np.asarray(rgb), _undated(ImageCms.ImageCmsProfile(target).tobytes())


def _undated(profile: bytes) -> bytes:
    """A profile without the time when it was made, so that the same picture gives the same file."""
    return profile[: _DATE.start] + bytes(_DATE.stop - _DATE.start) + profile[_DATE.stop :]
