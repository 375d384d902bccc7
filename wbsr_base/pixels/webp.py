"""What Pillow doesn't say of a WebP: whether it was written without loss, and grey, which it has no form for."""

from __future__ import annotations

import struct

import numpy as np

from wbsr_base.pixels.picture import Pixels


def is_lossless_webp(data: bytes) -> bool:
    """Whether the first picture of a WebP was written without loss."""
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack("<4sI", data[at : at + 8])
        if name in (b"VP8 ", b"VP8L"):
            return bool(name == b"VP8L")
        at += 24 if name == b"ANMF" else 8 + length + length % 2  # a frame holds its picture after 16 bytes
    return False


def same_grey(colour: Pixels) -> Pixels:
    """Grey as equal channels: a decoder rounds red and blue apart from green by one level, and both alike."""
    red, green, blue = (colour[..., i] for i in range(3))
    if np.array_equal(red, blue) and (red >= green).all() and (red - green <= 1).all():
        return np.repeat(green[..., None], 3, axis=2)
    return colour
