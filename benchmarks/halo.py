"""How wide the halo must be: what tiles lose against a dense run, and whether their borders show.

    python benchmarks/halo.py --images DIR [--weights W] [--halos 0 1 2 3 4] [--tiles 32 96] [--limit 14]

DIR holds HR images, best ones that the network was not trained on; LR images are made by MATLAB's bicubic. Every image
is cut into equal square tiles, all under the full network. *Loss* is the PSNR (luma, border = scale) of the dense run
above that of the tiles. *Seam* is the mean absolute step across tile borders over the same steps in the dense run:
above 1, borders show. Both as mean over the images, and of the worst image.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from photographs import Pair, luma, psnr, read_pairs
from torch import Tensor
from tqdm import tqdm

from wbsr.shipped import find_weights
from wbsr_models.checkpoints.loading import load_supernet
from wbsr_models.inference.settings import EngineSettings
from wbsr_models.inference.upscaler import DynamicUpscaler


def step_across(image: Tensor, distance: int) -> Tensor:
    """Mean absolute step of a luma image across the borders of square tiles of `distance` pixels."""
    rows, cols = (torch.arange(distance, side, distance) for side in image.shape)
    down = (image[rows] - image[rows - 1]).abs()
    right = (image[:, cols] - image[:, cols - 1]).abs()
    return torch.cat([down.flatten(), right.flatten()]).mean()


def measure(
    upscalers: Sequence[DynamicUpscaler], pairs: Sequence[Pair], tile: int, scale: int
) -> list[list[tuple[float, float]]]:
    """(loss, seam) of each image, for each upscaler."""
    found: list[list[tuple[float, float]]] = [[] for _ in upscalers]
    for lr, hr in tqdm(pairs, desc=f"tiles of {tile}", unit="image", leave=False):
        lr, hr = lr / 255, hr / 255
        with torch.no_grad():
            dense = luma(upscalers[0].network(lr[None])[0])
        whole, truth = psnr(dense, luma(hr), scale), luma(hr)
        for rows, upscaler in zip(found, upscalers, strict=True):
            tiled = luma(upscaler(lr)[0])
            seam = step_across(tiled, tile * scale) / step_across(dense, tile * scale)
            rows.append((whole - psnr(tiled, truth, scale), float(seam)))
    return found


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of HR images")
    parser.add_argument("--weights", help="a WBSR checkpoint, or the name of shipped weights")
    parser.add_argument("--halos", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="LR pixels")
    parser.add_argument("--tiles", type=int, nargs="+", default=[32, 96], help="sides of the tiles in LR pixels")
    parser.add_argument("--limit", type=int, default=14, help="images, the first by name")
    options = parser.parse_args()
    supernet, _ = load_supernet(find_weights(options.weights))
    pairs = read_pairs(options.images, supernet.scale, options.limit)
    head = [f"{what}, tiles of {tile}" for what in ("loss dB", "seam") for tile in options.tiles]
    lines = ["| halo | " + " | ".join(head) + " |", "|---" * (1 + len(head)) + "|"]
    columns = []
    for tile in options.tiles:
        upscalers = [
            DynamicUpscaler(supernet, tile, "full", EngineSettings(halo=halo, max_tile=tile, plan="tiles"))
            for halo in options.halos
        ]
        columns.append(
            measure(upscalers, [pair for pair in pairs if min(pair[0].shape[1:]) > tile], tile, supernet.scale)
        )
    for number, halo in enumerate(options.halos):
        losses, seams = ([[pair[k] for pair in column[number]] for column in columns] for k in (0, 1))
        cells = [f"{np.mean(x):.3f} ({np.max(x):.3f})" for x in (*losses, *seams)]
        lines.append(f"| {halo} | " + " | ".join(cells) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
