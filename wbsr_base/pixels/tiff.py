"""TIFF files to pixels. Every layout is read right, or refused by name: TIFF can hold far more than pictures.

tifffile reads header and pixels: strips and tiles, pixel by pixel or plane by plane, either byte order, predictors. It
lacks LZW and ZSTD, which are taken off here first, and codecs of more than bytes (JPEG, fax), which Pillow reads.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from wbsr_base.pixels.opening import check_size, damaged
from wbsr_base.pixels.picture import Pixels

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6  # photometric interpretations
_CHANNELS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
_JPEG = 7
_BYTEWISE = (1, 8, 32946, 32773, 34925)  # none, deflate, packbits, LZMA: what tifffile undoes by itself
_RECODED = (5, 34926, 50000)  # LZW, ZSTD in two guises: of bytes too, but Pillow has to undo them
_DEFLATE = 8
_ASSOCIATED, _UNASSOCIATED = 1, 2  # ExtraSamples: alpha that colours are multiplied by, and alpha that they are not
_UNSIGNED = 1
_ICC = 34675
_KINDS = {1: "uint", 2: "int", 3: "float", 4: "uint", 5: "complex int", 6: "complex"}  # 4: undefined, in old files


@dataclass(frozen=True)
class TiffPage:
    """What a page holds.

    `colour`: (H, W, 1, 3 or 4), uint8 or uint16; 4 is CMYK; `alpha`: (H, W) or None; `turn`: the orientation that is
    still to be applied; `icc`: the colour profile; `page`: its number, from 0.
    """

    colour: Pixels
    alpha: Pixels | None
    turn: int
    icc: bytes | None
    page: int


def read_tiff(data: bytes, name: str, choose: Callable[[int], int]) -> TiffPage:
    """Read one page of a TIFF.

    Args:
        data: the file.
        name: what errors call it.
        choose: from the number of pages to the page, counted from 0.

    Raises:
        ValueError: it is damaged, or of a layout that is not read; the error names it.
    """
    with _opened(data, name) as file:
        page = choose(_count(file, name))
        found = file.pages[page]
        try:
            facts = _Facts(found)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise damaged(name, error) from error
        facts.check(name)
        colour, alpha, turn = _planes(data, found, facts, name)
    return TiffPage(colour, alpha, turn, facts.icc, page)


def _count(file: Any, name: str) -> int:
    try:
        if file.is_imagej and (images := int((file.imagej_metadata or {}).get("images", 1))) > len(file.pages):
            return images
        several = len(file.pages)
    except Exception as error:
        raise damaged(name, error) from error
    if not several:
        raise damaged(name, "it holds no picture")
    return several


def _planes(data: bytes, page: Any, facts: _Facts, name: str) -> Planes:
    if facts.bits >= 8 and facts.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK):
        if facts.compression in _RECODED:
            with _opened(_deflated(data, page, facts, name), name) as plain:
                return _by_tifffile(plain.pages[page.index], facts, name)
        if facts.compression in _BYTEWISE:
            facts.check_whole(page, data, name)
            return _by_tifffile(page, facts, name)
    if facts.bits > 8:
        raise ValueError(f"{name}: 16 bits per channel under {facts.codec} compression can't be read: {_REMEDY}")
    return _by_pillow(data, page.index, facts, name)


Planes = tuple[Pixels, Pixels | None, int]  # colour (H, W, C), alpha (H, W), orientation still to be applied
_REMEDY = "save it as PNG, or as TIFF without compression"


class _Facts:
    """A page's header."""

    def __init__(self, page: Any) -> None:
        def values(tag: str, default: int) -> tuple[int, ...]:
            value = page.tags[tag].value if tag in page.tags else default
            return tuple(int(each) for each in value) if isinstance(value, tuple) else (int(value),)

        self.height, self.width = int(page.imagelength), int(page.imagewidth)
        self.samples = values("SamplesPerPixel", 1)[0]
        self.depths, self.formats = set(values("BitsPerSample", 1)), set(values("SampleFormat", _UNSIGNED))
        self.bits = max(self.depths)
        self.compression = values("Compression", 1)[0]
        self.photometric = values("PhotometricInterpretation", _BLACK_IS_ZERO)[0]
        self.turn = values("Orientation", 1)[0]
        self.planes = int(page.imagedepth)
        self.icc = bytes(page.tags[_ICC].value) if _ICC in page.tags else None
        extra = self.samples - _CHANNELS.get(self.photometric, self.samples)
        self.extra = values("ExtraSamples", _UNASSOCIATED)[-extra:] if extra > 0 else ()
        self.missing = extra < 0 or len(self.extra) < extra
        self.named = getattr(page.photometric, "name", str(self.photometric))
        self.codec = getattr(page.compression, "name", str(self.compression))

    def check(self, name: str) -> None:
        """Refuse what is no picture of 1 to 16 bits, grey, palette, RGB or CMYK, with or without alpha."""
        check_size(self.width, self.height, name)
        kinds = sorted(_KINDS.get(form, f"format {form} of ") for form in self.formats)
        if kinds != ["uint"]:
            raise ValueError(
                f"{name} must have unsigned pixels of 8 or 16 bits per channel, got {kinds[0]}{self.bits}: convert it "
                "first"
            )
        if self.height < 1 or self.width < 1 or self.planes > 1:
            size = f"{self.height} x {self.width}" + (f" in {self.planes} layers" if self.planes > 1 else "")
            raise ValueError(f"{name} must be a flat picture of one pixel at least, got {size}: {_REMEDY}")
        if self.photometric not in _CHANNELS or self.missing:
            what = f"{self.samples} channels of {self.named}"
            raise ValueError(f"{name} must be grey, RGB, CMYK or have a palette, got {what}: convert it first")
        if len(self.depths) > 1 or self.bits not in (1, 2, 4, 8, 16):
            depths = ", ".join(map(str, sorted(self.depths)))
            raise ValueError(f"{name} must have 8 or 16 bits per channel, got {depths}: convert it first")
        if len(self.extra) > 1 or any(kind not in (_ASSOCIATED, _UNASSOCIATED) for kind in self.extra):
            raise ValueError(
                f"{name} has extra channels of the kinds {', '.join(map(str, self.extra))}, where one of alpha, "
                "1 or 2, can be read: save it with alpha alone, or without"
            )
        if self.extra and (self.photometric == _CMYK or self.bits < 8):
            raise ValueError(f"{name} is {self.named} of {self.bits} bits with alpha, which can't be read: {_REMEDY}")
        if self.photometric == _PALETTE and self.bits > 8:
            raise ValueError(f"{name} has a palette of {self.bits} bits, which can't be read: {_REMEDY}")
        if self.photometric == _YCBCR and self.compression != _JPEG:
            raise ValueError(f"{name} holds YCbCr that is not compressed by JPEG, which can't be read: {_REMEDY}")

    def check_whole(self, page: Any, data: bytes, name: str) -> None:
        """Refuse a file that was cut off: tifffile would fill up by zeros."""
        ends = (offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False))
        if not page.dataoffsets or len(page.dataoffsets) != len(page.databytecounts) or max(ends) > len(data):
            raise damaged(name, "its header promises more than the file holds")


def _opened(data: bytes, name: str) -> Any:
    try:
        return tifffile.TiffFile(io.BytesIO(data))
    except Exception as error:
        raise damaged(name, error) from error


def _by_tifffile(page: Any, facts: _Facts, name: str) -> Planes:
    try:
        pixels = np.asarray(page.asarray()).reshape(page.shaped)
    except Exception as error:
        raise damaged(name, error) from error
    pixels = pixels[:, 0].transpose(1, 2, 3, 0).reshape(facts.height, facts.width, facts.samples)
    return _interpreted(pixels.astype(np.uint8 if facts.bits == 8 else np.uint16), facts)


def _interpreted(pixels: Pixels, facts: _Facts) -> Planes:
    """What samples (H, W, S) mean."""
    channels = _CHANNELS[facts.photometric]
    colour, alpha = pixels[..., :channels], pixels[..., channels] if facts.extra else None
    top = np.iinfo(pixels.dtype).max
    if facts.photometric == _WHITE_IS_ZERO:
        colour = top - colour
    if alpha is not None and facts.extra == (_ASSOCIATED,):
        colour = _divided(colour, alpha)
    return colour, alpha, facts.turn


def _divided(colour: Pixels, alpha: Pixels) -> Pixels:
    """Colours that were multiplied by alpha as they were before; where alpha is 0 nothing is known, and they are 0."""
    top = np.iinfo(colour.dtype).max
    whole = colour.astype(np.float64) * top / np.maximum(alpha, 1)[..., None]
    return np.where(alpha[..., None] == 0, 0, whole.round().clip(0, top)).astype(colour.dtype)


def _by_pillow(data: bytes, page: int, facts: _Facts, name: str) -> Planes:
    """Palettes, 1 to 4 bits, JPEG and fax, which Pillow reads; it turns the picture upright by itself in some
    versions, and says so by dropping the tag."""
    try:
        image = Image.open(io.BytesIO(data), formats=("TIFF",))
        image.seek(page)
        image.load()
        turn = image.getexif().get(0x0112, 1)
        mode = {"1": "L", "P": "RGB", "YCbCr": "RGB", "PA": "RGBA"}.get(image.mode, image.mode)
        if mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
            raise ValueError(f"Pillow reads it as {image.mode}")
        pixels = np.asarray(image.convert(mode))
    except Exception as error:
        raise ValueError(
            f"{name}, a TIFF of {facts.bits} bits under {facts.codec} compression, can't be read, or is damaged "
            f"({error}): {_REMEDY}"
        ) from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return (pixels[..., :-1], pixels[..., -1], turn) if mode in ("LA", "RGBA") else (pixels, None, turn)


def _deflated(data: bytes, page: Any, facts: _Facts, name: str) -> bytes:
    """The file with the page's strips or tiles under Deflate, which tifffile knows.

    The codecs are of bytes, whatever these mean, so each piece is read as a picture of bytes by Pillow.
    """
    facts.check_whole(page, data, name)
    across, down = (page.tilewidth, page.tilelength) if page.is_tiled else (facts.width, page.rowsperstrip)
    down = down if page.is_tiled else min(down, facts.height)
    row, strips = math.ceil(across * page.shaped[-1] * facts.bits / 8), math.ceil(facts.height / down)
    content, offsets, counts = bytearray(data), [], []
    for number, (start, count) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        is_last = not page.is_tiled and number % strips == strips - 1
        rows = facts.height - (strips - 1) * down if is_last else down
        piece = zlib.compress(_bytes_of(data[start : start + count], facts.compression, row, rows, name), 1)
        offsets.append(len(content))
        counts.append(len(piece))
        content += piece
    file = io.BytesIO(bytes(content))
    with tifffile.TiffFile(file, mode="r+") as writable:
        tags, kind = writable.pages[page.index].tags, "Tile" if page.is_tiled else "Strip"
        tags["Compression"].overwrite(_DEFLATE)
        tags[f"{kind}Offsets"].overwrite(offsets)
        tags[f"{kind}ByteCounts"].overwrite(counts)
        return file.getvalue()


def _bytes_of(piece: bytes, compression: int, row: int, rows: int, name: str) -> bytes:
    """A compressed piece as `rows` rows of `row` bytes."""
    entries = [(256, row), (257, rows), (258, 8), (259, compression), (262, _BLACK_IS_ZERO)]
    entries += [(273, 8 + 2 + 9 * 12 + 4), (277, 1), (278, rows), (279, len(piece))]
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    header += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)
    try:
        return Image.open(io.BytesIO(header + piece), formats=("TIFF",)).tobytes()
    except Exception as error:
        raise damaged(name, error) from error
