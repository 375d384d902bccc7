"""What a PNG says before its pixels, and the pixels that Pillow would cut down: 16 bits, and a level that is clear."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from wbsr_base.pixels.picture import Pixels

MARK = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4  # colour types
_WANTED = (b"tRNS", b"acTL", b"eXIf")


@dataclass(frozen=True)
class PngFacts:
    """Bits per channel, colour type, and by name the chunks before the pixels that change what is read."""

    bits: int
    kind: int
    chunks: dict[bytes, bytes]

    @property
    def is_plain(self) -> bool:
        """Whether any reader gives the same pixels: no animation, no clear colour, no orientation."""
        return not self.chunks

    @property
    def key(self) -> tuple[int, ...] | None:
        """The grey level (1,) or the colour (3,) that is transparent, as stored; None where there is none."""
        data = self.chunks.get(b"tRNS")
        count = {_GREY: 1, _RGB: 3}.get(self.kind, 0)
        if data is None or not count or len(data) < 2 * count:
            return None
        return struct.unpack(f">{count}H", data[: 2 * count])


def png_facts(data: bytes) -> PngFacts | None:
    """The facts of a PNG; None for other data, or a header that was cut off."""
    if not data.startswith(MARK) or len(data) < 33:
        return None
    chunks, at = {}, len(MARK)
    while at + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        if name == b"IDAT":
            break
        if name in _WANTED:
            chunks[name] = data[at + 8 : at + 8 + length]
        at += 12 + length
    return PngFacts(data[24], data[25], chunks)


def deep_pixels(data: bytes, facts: PngFacts, name: str) -> tuple[Pixels, Pixels | None]:
    """Colour (H, W, 1 or 3) and alpha (H, W) or None of a PNG of 16 bits.

    Raises:
        ValueError: it can't be decoded.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError(f"{name} is a PNG of 16 bits that can't be read, or it is damaged: save it anew")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    colour, alpha = pixels[..., : min(3, pixels.shape[2])], pixels[..., 3] if pixels.shape[2] == 4 else None
    colour = colour[..., :1] if facts.kind in (_GREY, _GREY_ALPHA) else colour[..., ::-1]
    return colour, keyed_alpha(colour, facts) if facts.key else alpha


def keyed_alpha(colour: Pixels, facts: PngFacts) -> Pixels:
    """(H, W): 0 where the colour is the transparent one, else opaque; levels of 1 to 4 bits stand for those of 8."""
    top = np.iinfo(colour.dtype).max
    depth = 2**facts.bits - 1
    key = np.array([level * top // depth if facts.bits < 8 else level for level in facts.key or ()])
    return np.where((colour == key).all(axis=-1), 0, top).astype(colour.dtype)
