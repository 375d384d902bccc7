"""Pixels drawn from the HR images of a folder or LMDB, or residuals or textures there: a sample of p_train(y).

BasicSR draws one patch from each image per epoch, whatever its size; so every image gives the same number of pixels.
Images are those that the data sets take (`wbsr_base.pixels.images`), 16-bit ones at the nearest 8-bit level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from wbsr_base.pixels.bicubic import to_8_bits
from wbsr_base.pixels.images import decode_pixels, find_images

WINDOW = 512  # residuals and textures are worked out in one square of so many pixels: large images cost no more

Read = Callable[[str], bytes]
Measure = Literal["pixel", "residual", "texture"]


@dataclass(frozen=True)
class ImageList:
    """The images of a source.

    Attributes:
        root: the folder, or the LMDB folder (its name ends in `.lmdb`).
        names: paths relative to the folder, or keys of the LMDB; sorted.
        stamps: what changes when an image does: name, bytes and time of change of every file.
    """

    root: Path
    names: tuple[str, ...]
    stamps: tuple[tuple[str, int, int], ...]


def list_images(root: str | Path) -> ImageList:
    """Find the images under a folder (its subfolders included) or in an LMDB.

    Raises:
        FileNotFoundError: the folder is missing, holds no image, or is an LMDB without its `meta_info.txt`.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}: point dataroot_gt at the folder of HR images")
    if root.suffix == ".lmdb":
        meta = root / "meta_info.txt"
        if not meta.is_file():
            raise FileNotFoundError(f"the LMDB {root} must hold meta_info.txt: make it with BasicSR's LMDB script")
        names = sorted(line.split(" ")[0].rsplit(".", 1)[0] for line in meta.read_text().splitlines() if line.strip())
        if not names:
            raise FileNotFoundError(f"no image in {root}: its meta_info.txt lists none: make the LMDB again")
        files = [meta, root / "data.mdb"]
    else:
        files = find_images(root)
        names = [p.relative_to(root).as_posix() for p in files]
    stats = [(p.relative_to(root).as_posix(), p.stat()) for p in files]
    return ImageList(root, tuple(names), tuple((name, s.st_size, s.st_mtime_ns) for name, s in stats))


def sample_pixels(
    images: ImageList, count: int, seed: int, y: Measure = "pixel", scale: int | None = None
) -> npt.NDArray[np.float64]:
    """Draw about `count` pixels, the same number from each image (from a random part of them if there are more images).

    Args:
        images: where to draw from.
        count: how many pixels, at most.
        seed: of the draw.
        y: what to draw: pixel values, residuals over the bicubic base, or the texture around a pixel.
        scale: (residual) of the LR image.

    Returns:
        RGB values (n, 3), in 0-1 (residuals: in -1..1; textures: (n, 1)), with n at most `count`.

    Raises:
        ValueError: an image can't be decoded, is partly transparent or smaller than `scale`, or an LMDB lacks a key; it
            is named.
        OSError: a file can't be read.
    """
    from tqdm import tqdm

    rng = np.random.default_rng(seed)
    names = images.names
    if len(names) > count:
        names = tuple(names[i] for i in np.sort(rng.choice(len(names), count, replace=False)))
    share = count // len(names)
    drawn = []
    with _reader(images.root) as read:
        for name in tqdm(names, desc="sampling HR pixels", unit="image", leave=False):
            image = to_8_bits(decode_pixels(read(name), f"{images.root}/{name}"))
            values = image if y == "pixel" else _measured(image, scale, rng, f"{images.root}/{name}")
            pixels = values.reshape(-1, values.shape[-1])
            drawn.append(pixels[rng.integers(len(pixels), size=share)])
    bgr = np.concatenate(drawn).astype(np.float64)
    return bgr[:, ::-1] / (255 if y == "pixel" else 1)


@contextmanager
def _reader(root: Path) -> Iterator[Read]:
    if root.suffix != ".lmdb":
        yield lambda name: (root / name).read_bytes()
        return
    import lmdb

    with lmdb.open(str(root), readonly=True, lock=False, readahead=False) as env, env.begin() as transaction:

        def read(name: str) -> bytes:
            value = transaction.get(name.encode("ascii"))
            if value is None:
                raise ValueError(f"the LMDB {root} lacks the key {name!r} that its meta_info.txt lists: make it again")
            return bytes(value)

        yield read


def _measured(
    image: npt.NDArray[np.uint8], scale: int | None, rng: np.random.Generator, name: str
) -> npt.NDArray[np.float32]:
    """Residual (H, W, 3), BGR, of a random square of the image; without a scale its texture (H, W, 1)."""
    import torch

    from wbsr_losses.residual import bicubic_base
    from wbsr_losses.texture import local_texture

    unit = scale or 1
    height, width = (min(side, WINDOW) // unit * unit for side in image.shape[:2])
    if not height or not width:
        raise ValueError(f"the image {name} is smaller than scale = {scale}: remove it")
    top, left = (int(rng.integers(side - size + 1)) for side, size in zip(image.shape, (height, width), strict=False))
    part = np.ascontiguousarray(image[top : top + height, left : left + width])
    bgr = torch.from_numpy(part).permute(2, 0, 1)[None].float() / 255
    values = local_texture(bgr.flip(1)) if scale is None else bgr - bicubic_base(bgr, scale)
    result: npt.NDArray[np.float32] = values[0].permute(1, 2, 0).numpy()
    return result
