"""How well a trained supernet does on patches of each class: PSNR and error pixels (paper, Figures 1b and 5).

A patch is upscaled with real surroundings, so that it has no border of its own, by bicubic, by the full network, and by
the subnet that dynamic inference (Eq. 15) gives it. Errors are measured on luma (BT.601, as PSNR-Y) after rounding to
8 bits; an error pixel is one whose luma is off by more than a given number of the 255 levels.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wbsr_base.bicubic import Bytes, resize, to_8_bits, to_uint8
from wbsr_base.images import to_float
from wbsr_data.patch_index import PatchIndex
from wbsr_lab.analyze.pairs import Pairs

HALO = 8  # LR pixels of surroundings on each side, where the image has them


def measure(
    pairs: Pairs, weights: Path, samples: int, error_level: float, device: torch.device
) -> dict[str, dict[str, list[float | None]]]:
    """PSNR-Y in dB and the share of error pixels by method and class.

    Args:
        pairs: what to measure on.
        weights: a WBSR checkpoint of the same scale and patch size.
        samples: patches of each class, spread evenly over it.
        error_level: more than this many of 255 levels off is an error pixel.
        device: to run the networks on.

    Returns:
        By method (`bicubic`, `full`, and `dynamic` where the checkpoint has thresholds) `psnr_y` and `error_pixels`,
        each a list over the classes; None for an empty class, and for the PSNR of one without any error.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, or one of another scale or patch size.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    methods = _Methods(pairs, weights, device)
    chosen = _choose(pairs.index, samples)
    squared: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(pairs.index.num_classes))
    wrong: dict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(pairs.index.num_classes))
    pixels = np.zeros(pairs.index.num_classes)
    number, lr, hr = -1, np.empty(0, np.uint8), np.empty(0, np.uint8)
    for candidate in tqdm(chosen, desc="Upscaling patches", unit="patch"):
        if pairs.index.image[candidate] != number:
            number = int(pairs.index.image[candidate])
            lr, hr = (to_8_bits(image) for image in pairs.load(number))
        row, col = int(pairs.index.y[candidate]), int(pairs.index.x[candidate])
        k = int(pairs.index.difficulty[candidate]) - 1
        side, scale = pairs.patch_size, pairs.scale
        target = luma(hr[row * scale : (row + side) * scale, col * scale : (col + side) * scale])
        pixels[k] += target.size
        for method, sr in methods.upscale(lr, row, col).items():
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
    """Bicubic, the full network, and the subnet that the patch's difficulty asks for."""

    def __init__(self, pairs: Pairs, weights: Path, device: torch.device) -> None:
        from wbsr_models.loading import load_supernet
        from wbsr_models.upscaler import DynamicUpscaler

        supernet, metadata = load_supernet(weights)
        for name, ours, theirs in (
            ("scale", pairs.scale, supernet.scale),
            ("patch size in LR pixels", pairs.patch_size, metadata.patch_size),
        ):
            if ours != theirs:
                raise ValueError(f"the {name} of weights {weights} is {theirs}, but {ours} is analysed: give the same")
        self._supernet, self._device = supernet.to(device).eval(), device
        self._dynamic = None
        if metadata.thresholds is not None:
            self._dynamic = DynamicUpscaler(self._supernet, metadata.thresholds, metadata.patch_size, routing="paper")
        self._networks: dict[int, torch.nn.Module] = {}
        self._full = supernet.subnets.index(supernet.full)
        self._side, self._scale = pairs.patch_size, pairs.scale

    @torch.no_grad()
    def upscale(self, lr: Bytes, row: int, col: int) -> dict[str, Bytes]:
        """The SR patch of each method for the LR patch at (row, col)."""
        top, left = max(row - HALO, 0), max(col - HALO, 0)
        window = lr[top : row + self._side + HALO, left : col + self._side + HALO]
        x = torch.from_numpy(to_float(window)[..., ::-1].transpose(2, 0, 1).copy()).to(self._device)
        inner = x[:, row - top : row - top + self._side, col - left : col - left + self._side]
        choices = {"full": self._full}
        if self._dynamic is not None:
            choices["dynamic"] = int(self._dynamic.route(inner).item())
        sr = {number: self._run(number, x) for number in set(choices.values())}
        made = {"bicubic": resize(window, self._scale)}
        made |= {method: sr[number] for method, number in choices.items()}
        y, x0, size = (row - top) * self._scale, (col - left) * self._scale, self._side * self._scale
        return {method: image[y : y + size, x0 : x0 + size] for method, image in made.items()}

    def _run(self, number: int, x: torch.Tensor) -> Bytes:
        if number not in self._networks:
            self._networks[number] = self._supernet.extract(self._supernet.subnets[number])
        sr = self._networks[number](x[None])[0].float().cpu().numpy()
        return to_uint8(sr.transpose(1, 2, 0)[..., ::-1])


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
