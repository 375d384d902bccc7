"""What the benchmarks share: pairs of photographs, batches of random patches of them, and PSNR of the luma."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from wbsr_base.pixels.bicubic import crop_to_multiple, resize, to_8_bits
from wbsr_base.pixels.finding import SUFFIXES
from wbsr_base.pixels.images import Pixels, decode_pixels

Pair = tuple[Tensor, Tensor]  # LR and HR image, uint8 RGB (3, H, W)

_LUMA = torch.tensor([65.481, 128.553, 24.966]).view(3, 1, 1) / 255  # BT.601, without MATLAB's offset


def image_files(folder: Path) -> list[Path]:
    """The images of a folder by name.

    Raises:
        FileNotFoundError: there is none.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no image in {folder}: it must hold HR images")
    return files


def read_hr(path: Path) -> Pixels:
    """An HR image, uint8 (H, W, 3) RGB."""
    return np.ascontiguousarray(to_8_bits(decode_pixels(path.read_bytes(), str(path)))[..., ::-1])


def read_pairs(folder: Path, scale: int, most: int | None = None) -> list[Pair]:
    """The images of a folder with their LR images by MATLAB's bicubic, in the order of their names, `most` or all."""
    files = image_files(folder)[:most]
    return [_pair(path, scale) for path in tqdm(files, desc=f"reading {folder.name}", unit="image", leave=False)]


def _pair(path: Path, scale: int) -> Pair:
    hr = crop_to_multiple(read_hr(path), scale)
    return as_tensor(resize(hr, 1 / scale)), as_tensor(hr)


def as_tensor(pixels: Pixels) -> Tensor:
    """(H, W, 3) as (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def batches(pairs: list[Pair], seed: int, size: int, patch: int) -> Iterator[Pair]:
    """Endless batches (lr, hr) of `size` random patches of `patch` LR pixels, turned and flipped at random.

    Float32, range 0-1, channels-last, which is faster on a CPU; the same for the same seed.
    """
    rng = np.random.default_rng(seed)
    while True:
        drawn = [_patch(pairs[rng.integers(len(pairs))], patch, rng) for _ in range(size)]
        lr, hr = (torch.stack(part).float().div(255) for part in zip(*drawn, strict=True))
        yield lr.contiguous(memory_format=torch.channels_last), hr


def _patch(pair: Pair, side: int, rng: np.random.Generator) -> Pair:
    top, left = (int(rng.integers(length - side + 1)) for length in pair[0].shape[1:])
    scale = pair[1].shape[1] // pair[0].shape[1]
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    lr, hr = (
        image[:, top * s : (top + side) * s, left * s : (left + side) * s].rot90(turns, (1, 2))
        for image, s in zip(pair, (1, scale), strict=True)
    )
    return (lr.flip(2), hr.flip(2)) if flip else (lr, hr)


def luma(rgb: Tensor) -> Tensor:
    """(..., 3, H, W) in 0-1, rounded to 8 bits, to (..., H, W)."""
    return (rgb.clamp(0, 1).mul(255).round() / 255 * _LUMA).sum(-3)


def psnr(sr: Tensor, hr: Tensor, border: int) -> float:
    """PSNR of luma images in dB, without `border` pixels at each side."""
    error = (sr - hr)[..., border:-border, border:-border]
    return -10 * float(error.square().mean().log10())
