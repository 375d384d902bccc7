"""Pictures to files: whole or not at all, with the depth, alpha, colour profile and EXIF that the format can hold.

Pillow writes everything but 16-bit colour, which it can't: PNG by OpenCV, TIFF (without EXIF) by tifffile.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from wbsr_base.files import write_whole
from wbsr_base.pixels.picture import Picture, Pixels

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 3},  # level 6, the default, takes thrice the time at 8K for some percent
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
}
_LOSSLESS = {"lossless": True, "exact": True, "quality": 50}  # of a WebP whose source was so; quality is effort here
_LONGEST = {"JPEG": 65_500, "WEBP": 16_383, "PNG": 1_000_000}  # pixels a side
_MOST_BYTES = 2**32 - 2**25  # of a BMP's pixels, and of a TIFF's with 32-bit offsets
_EXIF_MARK = b"Exif\x00\x00"
_MOST_EXIF = 65_533 - len(_EXIF_MARK)  # bytes in a JPEG


def check_target(picture: Picture, path: Path, scale: int = 1, source: Path | None = None) -> None:
    """Refuse a file that can't hold a picture like this.

    Args:
        picture: what is written, or what will be upscaled.
        path: where to.
        scale: how many times the result is as large as `picture`.
        source: where the picture comes from, for the errors.

    Raises:
        ValueError: the ending names no format, or one without alpha or 16 bits where the picture has them, or one for
            smaller pictures or less EXIF.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ValueError(f"{path} must end in one of {', '.join(_FORMATS)} for a picture to be written there")
    if picture.alpha is not None and form in ("JPEG", "BMP"):
        others = "PNG or TIFF" if picture.is_deep else "PNG, WebP or TIFF"
        raise ValueError(f"{path}: {form} can't hold transparency: write {others}")
    if picture.is_deep and form not in ("PNG", "TIFF"):
        raise ValueError(f"{path}: {form} can't hold 16 bits per channel: write PNG or TIFF")
    if form == "JPEG" and picture.exif is not None and len(picture.exif.removeprefix(_EXIF_MARK)) > _MOST_EXIF:
        raise ValueError(f"{path}: JPEG can't hold more than {_MOST_EXIF:,} bytes of EXIF: write PNG, WebP or TIFF")
    height, width = (scale * side for side in picture.size)
    what = f"{path}, the result" + (f" of {source}," if source else ",") + f" has {width} x {height} pixels"
    if max(height, width) > _LONGEST.get(form, 2**31 - 1):
        other = "TIFF" if form == "PNG" else "PNG or TIFF"
        raise ValueError(f"{what}, and {form} holds at most {_LONGEST[form]:,} a side: write {other}")
    if form == "BMP" and height * width * picture.colour.shape[2] > _MOST_BYTES:
        raise ValueError(f"{what}, and BMP holds at most 4 GB: write PNG or TIFF")


def write_picture(picture: Picture, path: Path) -> None:
    """Write a picture in the format that the path's ending names; a file of that name is replaced.

    Raises:
        ValueError: the format can't hold it, or another ending.
        OSError: the file can't be written; none is left behind.
    """
    write_whole(path, encode(picture, path))


def encode(picture: Picture, path: Path) -> bytes:
    """The content of the file; raises what `write_picture` does."""
    check_target(picture, path)
    form = _FORMATS[path.suffix.lower()]
    is_deep_colour = picture.is_deep and not (picture.is_grey and picture.alpha is None)
    if form == "TIFF" and (is_deep_colour or picture.colour.nbytes > _MOST_BYTES):
        return _tiff(picture)
    if is_deep_colour:
        return _deep_png(picture, path)
    options = _LOSSLESS if form == "WEBP" and picture.lossless else _OPTIONS[form]
    if form != "BMP":
        options = options | {
            name: data for name, data in (("icc_profile", picture.icc), ("exif", picture.exif)) if data
        }
    if form == "JPEG" and picture.is_grey:
        options = {name: value for name, value in options.items() if name != "subsampling"}
    if form == "TIFF" and picture.exif is not None:
        options = {name: value for name, value in options.items() if name != "compression"}  # Pillow refuses both
    pixels = _with_alpha(picture)
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(content, form, **options)
    return content.getvalue()


def _with_alpha(picture: Picture) -> Pixels:
    """(H, W, 1 to 4)."""
    if picture.alpha is None:
        return picture.colour
    return np.concatenate([picture.colour, picture.alpha[..., None]], axis=2)


def _deep_png(picture: Picture, path: Path) -> bytes:
    """16-bit colour, or grey with alpha as equal channels, for which OpenCV has no other form."""
    rgb = np.repeat(picture.colour, 3, axis=2) if picture.is_grey else picture.colour
    planes = [rgb[..., ::-1], *([] if picture.alpha is None else [picture.alpha[..., None]])]
    exif = None if picture.exif is None else picture.exif.removeprefix(_EXIF_MARK)
    told = [(cv2.IMAGE_METADATA_ICCP, picture.icc), (cv2.IMAGE_METADATA_EXIF, exif)]
    kinds = [kind for kind, data in told if data]
    blocks = [np.frombuffer(data, np.uint8) for _, data in told if data]
    done, content = cv2.imencodeWithMetadata(".png", np.concatenate(planes, axis=2), kinds, blocks)
    if not done:
        raise OSError(f"{path}: the 16-bit PNG can't be encoded")
    return bytes(content)


def _tiff(picture: Picture) -> bytes:
    import tifffile

    content = io.BytesIO()
    tifffile.imwrite(
        content,
        _with_alpha(picture),
        photometric="minisblack" if picture.is_grey else "rgb",
        planarconfig="contig",
        extrasamples=None if picture.alpha is None else ["unassalpha"],
        compression="zlib",
        iccprofile=picture.icc,
        metadata=None,
        bigtiff=picture.colour.nbytes > _MOST_BYTES,
    )
    return content.getvalue()
