"""What interpolating flat places does: PSNR and FLOPs of photographs, and the paper of a page of text.

    python benchmarks/flat.py --images DIR [--weights W] [--mode MODE] [--limit 14]

DIR holds HR images; LR images are made by MATLAB's bicubic. Each is upscaled with and without the rule; PSNR is on
luma, border = scale. The page is drawn: two lines of black text on 96 x 96 white pixels, and its paper are the pixels
more than 2 away from any ink.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from photographs import luma, psnr, read_pairs
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import maximum_filter
from torch import Tensor

from wbsr.shipped import find_weights
from wbsr_models.inference.upscaler import DynamicUpscaler
from wbsr_models.routing.policies import make_policy

_AWAY = 5  # side of the square around a pixel that must hold no ink


def page() -> tuple[Tensor, Tensor]:
    """A page of text (3, 96, 96), range 0-1, and which of its pixels are paper."""
    image = Image.new("L", (96, 96), 255)
    font = ImageFont.load_default(11)
    for row, text in enumerate(("Lorem ipsum", "dolor sit 42")):
        ImageDraw.Draw(image).text((6, 6 + 14 * row), text, font=font, fill=0)
    pixels = np.asarray(image)
    paper = maximum_filter(pixels < 255, _AWAY) == 0
    return torch.from_numpy(pixels / np.float32(255)).expand(3, -1, -1), torch.from_numpy(paper)


def paper_off(upscaler: DynamicUpscaler) -> tuple[float, int, float]:
    """Of the paper of a page: the share of pixels that are not 255, the furthest off in levels; and the FLOPs."""
    lr, paper = page()
    sr, report = upscaler(lr)
    levels = (255 * sr.clamp(0, 1)).round().amin(0)
    scale = upscaler.network.scale
    off = 255 - levels[paper.repeat_interleave(scale, 0).repeat_interleave(scale, 1)]
    return float((off > 0).float().mean()), int(off.max()), report.flops_share


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--weights", help="a WBSR checkpoint, or the name of shipped weights")
    parser.add_argument("--mode", help="the routing (default: the weights' own)")
    parser.add_argument("--limit", type=int, default=14, help="images, the first by name")
    options = parser.parse_args()
    plain = DynamicUpscaler.from_checkpoint(find_weights(options.weights))
    policy = plain.policy if options.mode is None else make_policy(options.mode, {})
    both = [plain.routed(replace(policy, flat=flat)) for flat in (False, True)]
    losses, saved = [], []
    for lr, hr in read_pairs(options.images, plain.network.scale, options.limit):
        results = [upscaler(lr / 255) for upscaler in both]
        before, after = (psnr(luma(sr), luma(hr / 255), plain.network.scale) for sr, _ in results)
        losses.append(before - after)
        saved.append(results[0][1].flops_share - results[1][1].flops_share)
    lines = [f"{len(losses)} images: loss {np.mean(losses):.5f} dB on average, {np.max(losses):.5f} dB at most; "]
    lines[0] += f"FLOPs saved {np.mean(saved):.2%}"
    for name, upscaler in zip(("without", "with"), both, strict=True):
        share, furthest, flops = paper_off(upscaler)
        lines.append(f"page {name}: {share:.1%} of the paper off, by {furthest} levels at most; FLOPs {flops:.1%}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
