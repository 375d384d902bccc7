"""How well a trained supernet does on patches of each class: PSNR and error pixels (paper, Figures 1b and 5).

A patch is upscaled with real surroundings, so that it has no border of its own, by bicubic, by the full network, and by
the subnet that dynamic inference gives it. Errors are measured on luma (BT.601, as PSNR-Y) after rounding to
8 bits; an error pixel is one whose luma is off by more than a given number of the 255 levels.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wbsr_base.pixels.bicubic import Bytes, resize, to_8_bits, to_uint8
from wbsr_base.pixels.images import to_float
from wbsr_data.gradient import patch_positions
from wbsr_data.patch_index import PatchIndex
from wbsr_lab.analyze.pairs import Pairs
from wbsr_models.inference.tiling import Tile, make_tile
from wbsr_models.inference.upscaler import DynamicUpscaler

HALO = 8  # LR pixels of surroundings on each side, where the image has them


def measure_classes(
    pairs: Pairs, upscaler: DynamicUpscaler, samples: int, error_level: float
) -> dict[str, dict[str, list[float | None]]]:
    """PSNR-Y in dB and the share of error pixels by method and class.

    Args:
        pairs: what to measure on.
        upscaler: of the same scale and patch size, with the policy by which `dynamic` routes.
        samples: patches of each class, spread evenly over it.
        error_level: more than this many of 255 levels off is an error pixel.

    Returns:
        By method (`bicubic`, `full`, and `dynamic` where the policy is another) `psnr_y` and `error_pixels`, each a
        list over the classes; None for an empty class, and for the PSNR of one without any error.

    Raises:
        ValueError: no sample, or an upscaler of another scale or patch size.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    for name, ours, theirs in (
        ("scale", pairs.scale, upscaler.network.scale),
        ("patch size in LR pixels", pairs.patch_size, upscaler.patch_size),
    ):
        if ours != theirs:
            raise ValueError(f"the {name} of the weights is {theirs}, but {ours} is analysed: give the same")
    methods = _Methods(pairs, upscaler)
    chosen = _choose(pairs.index, samples)
    squared: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(pairs.index.num_classes))
    wrong: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(pairs.index.num_classes))
    pixels = np.zeros(pairs.index.num_classes)
    number, hr = -1, np.empty(0, np.uint8)
    for candidate in tqdm(chosen, desc="Upscaling patches", unit="patch"):
        if pairs.index.image[candidate] != number:
            number = int(pairs.index.image[candidate])
            lr, hr = (to_8_bits(image) for image in pairs.load(number))
            methods.enter(lr)
        row, col = int(pairs.index.y[candidate]), int(pairs.index.x[candidate])
        k = int(pairs.index.difficulty[candidate]) - 1
        side, scale = pairs.patch_size, pairs.scale
        target = luma(hr[row * scale : (row + side) * scale, col * scale : (col + side) * scale])
        pixels[k] += target.size
        for method, sr in methods.upscale(row, col).items():
            error = np.abs(luma(sr) - target)
            squared[method][k] += np.square(error).sum()
            wrong[method][k] += np.count_nonzero(error > error_level)
    return {
        method: {
            "psnr_y": [_psnr(total, count) for total, count in zip(squared[method], pixels, strict=True)],
            "error_pixels": [w / n if n else None for w, n in zip(wrong[method], pixels, strict=True)],
        }
        for method in squared
    }


class _Methods:
    """Bicubic, the full network, and the subnet that a patch is routed to."""

    def __init__(self, pairs: Pairs, upscaler: DynamicUpscaler) -> None:
        self._upscaler, self._pairs = upscaler, pairs
        self._full = len(upscaler.network.subnets) - 1
        self._scale, self._side = pairs.scale, pairs.patch_size
        self._routes = upscaler.policy.mode != "full"

    @torch.no_grad()
    def enter(self, lr: Bytes) -> None:
        """Take an LR image, and route all its candidate patches: a budget is shared out among them."""
        self._lr = lr
        self._x = torch.from_numpy(to_float(lr)[..., ::-1].transpose(2, 0, 1).copy()).to(self._upscaler.device)
        stride = self._pairs.hes.stride
        self._choice = self._upscaler.route(self._x, self._side, stride)
        self._starts = [patch_positions(length, self._side, stride).numpy() for length in lr.shape[:2]]

    @torch.no_grad()
    def upscale(self, row: int, col: int) -> dict[str, Bytes]:
        """The SR patch of each method for the candidate at (row, col)."""
        choices = {"full": self._full}
        if self._routes:
            place = tuple(np.searchsorted(starts, at) for starts, at in zip(self._starts, (row, col), strict=True))
            choices["dynamic"] = int(self._choice[place])
        tiles = {number: self._tile(number, row, col) for number in set(choices.values())}
        sr = {tile.subnet: output for tile, output in self._upscaler.runner.outputs(self._x, list(tiles.values()))}
        inside = tiles[self._full].inside(self._scale)
        window = resize(np.ascontiguousarray(self._lr[tiles[self._full].window[1:]]), self._scale)
        made = {method: _to_bytes(sr[number][inside]) for method, number in choices.items()}
        return {"bicubic": window[inside[1:]], **made}

    def _tile(self, number: int, row: int, col: int) -> Tile:
        return make_tile(number, row, row + self._side, col, col + self._side, HALO, *self._lr.shape[:2])


def _to_bytes(sr: torch.Tensor) -> Bytes:
    """(3, H, W) RGB of range 0-1 to uint8 (H, W, 3) BGR."""
    return to_uint8(sr.float().cpu().numpy().transpose(1, 2, 0)[..., ::-1])


def _choose(index: PatchIndex, samples: int) -> NDArray[np.int64]:
    """Up to `samples` candidates of each class, spread evenly over it; in the order of their images."""
    ends = np.cumsum(index.counts)
    chosen = [
        start + np.arange(min(count, samples)) * count // max(min(count, samples), 1)
        for start, count in zip(ends - index.counts, index.counts, strict=True)
    ]
    candidates = np.concatenate(chosen).astype(np.int64)
    return candidates[np.argsort(index.image[candidates], kind="stable")]


def luma(bgr: Bytes) -> NDArray[np.float64]:
    """(H, W) luma of BT.601, 16-235, as BasicSR's PSNR-Y has it."""
    levels: NDArray[np.float64] = bgr @ np.array([24.966, 128.553, 65.481]) / 255 + 16
    return levels


def _psnr(squared_error: float, pixels: float) -> float | None:
    return float(10 * np.log10(255**2 * pixels / squared_error)) if squared_error > 0 else None
