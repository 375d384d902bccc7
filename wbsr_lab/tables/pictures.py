"""Pictures of a test image: how gradients become subnets (Figure 3), and errors with and without BDLoss (Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wbsr_data.gradient import gradient_score
from wbsr_lab.analyze.quality import luma
from wbsr_models.inference.subnet_map import draw_subnet_map
from wbsr_models.inference.upscaler import DynamicUpscaler

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB
Panel = tuple[str, NDArray[Any], str | None]  # title, picture, colour map of a single channel


def projection(checkpoint: Path, pair: Path, name: str, scale: int, path: Path) -> None:
    """Draw the LR image, its edges, its gradient magnitude, the score of each patch, and the subnet of each patch.

    Args:
        checkpoint: a WBSR checkpoint with thresholds.
        pair: folder of `HR` and `LRx{scale}`.
        name: of the image's files.
        scale: of the checkpoint.
        path: PNG file to write.
    """
    lr = _read(pair / f"LRx{scale}" / name)
    upscaler = DynamicUpscaler.from_checkpoint(checkpoint)
    sr, report = upscaler(_tensor(lr))
    luma = cv2.cvtColor(lr, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    magnitude = np.hypot(np.diff(luma, axis=1)[:-1], np.diff(luma, axis=0)[:, :-1])
    scores = gradient_score(_tensor(lr), upscaler.patch_size).numpy()
    panels: list[Panel] = [
        ("LR image", lr, None),
        ("edges: |Laplacian|", np.abs(cv2.Laplacian(luma, cv2.CV_32F)), "gray"),
        ("gradient magnitude", magnitude, "gray"),
        ("score of each patch", scores, "turbo"),
        _subnets(sr, report.choice, upscaler),
    ]
    _draw(panels, f"{name}: {report.flops_share:.0%} of the full network's FLOPs", path)


def errors(without: Path, with_loss: Path, pair: Path, name: str, scale: int, path: Path) -> None:
    """Draw HR, the errors of luma without and with BDLoss on one scale, where which is smaller, and the subnets.

    Args:
        without: a WBSR checkpoint that was trained without BDLoss.
        with_loss: the other.
        pair: folder of `HR` and `LRx{scale}`.
        name: of the image's files.
        scale: of the checkpoints.
        path: PNG file to write.
    """
    hr, lr = (_read(pair / folder / name) for folder in ("HR", f"LRx{scale}"))
    found: list[NDArray[np.float64]] = []
    for checkpoint in (without, with_loss):
        upscaler = DynamicUpscaler.from_checkpoint(checkpoint)
        sr, report = upscaler(_tensor(lr))
        found.append(np.abs(luma(_pixels(sr)[..., ::-1]) - luma(hr[..., ::-1])))
    plain, ours = found
    top = float(np.percentile(plain, 99))
    psnr = [10 * np.log10(255**2 / np.square(error).mean()) for error in found]
    panels: list[Panel] = [
        ("HR image", hr, None),
        (f"error without BDLoss, {psnr[0]:.2f} dB", np.minimum(plain, top), "inferno"),
        (f"error with BDLoss, {psnr[1]:.2f} dB", np.minimum(ours, top), "inferno"),
        ("smaller with BDLoss: blue; larger: red", np.clip(ours - plain, -top / 2, top / 2), "coolwarm"),
        _subnets(sr, report.choice, upscaler),
    ]
    _draw(panels, f"{name}: errors of luma, in levels of 255", path)


def _subnets(sr: Tensor, choice: NDArray[np.int64], upscaler: DynamicUpscaler) -> Panel:
    total = len(upscaler.network.subnets)
    image = cv2.cvtColor(_pixels(sr), cv2.COLOR_RGB2BGR)
    tinted = draw_subnet_map(image, choice, upscaler.patch_size * upscaler.network.scale, total)
    return (f"subnets, 1 (blue) to {total} (red)", cv2.cvtColor(tinted, cv2.COLOR_BGR2RGB), None)


def _draw(panels: Sequence[Panel], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 4.4), layout="constrained")
    for axis, (text, picture, colours) in zip(axes, panels, strict=True):
        shown = axis.imshow(picture, cmap=colours)
        axis.set_title(text, fontsize=11)
        axis.axis("off")
        if colours is not None:
            figure.colorbar(shown, ax=axis, orientation="horizontal", shrink=0.9)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _read(path: Path) -> Pixels:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"{path} is no image that can be read: prepare the test set again")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _tensor(image: Pixels) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)


def _pixels(sr: Tensor) -> Pixels:
    return np.asarray(sr.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy(), dtype=np.uint8)
