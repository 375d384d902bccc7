"""Difficulty of patches, and hierarchical equalization sampling (paper, section 3.2).

    gradient, edge, bilinear     scores of patches
    flatness                     where nothing happens
    difficulty                   classes by score, and how often each is drawn
    patch_index, index_cache     all candidates of a set of images, and that on disk
    samplings, draws, sampler    shares of the classes; which candidate a draw takes; which draws a rank takes
    crop                         what a draw cuts, and how it turns it
    reader, image_cache, pair_images     the pixels behind it
    resident_*                   all pixels in memory, and batches as one gather there
    hes/                         `HESPairedImageDataset`, and its block
    dda/                         `DDAPairedImageDataset`
    sources, preparation/        from a folder of HR images to pairs
    workers                      work shared out among processes

Names load on first use, so that the mathematics comes without BasicSR. Both data sets are registered once `wbsr_data`
is imported in a program that has imported BasicSR.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbsr_base.pixels.images import decode_image
    from wbsr_data.crop import Crop, Crops
    from wbsr_data.dda.dataset import DDAPairedImageDataset
    from wbsr_data.difficulty import class_probabilities, classify, thresholds
    from wbsr_data.draws import DrawPlan
    from wbsr_data.edge import edge_score
    from wbsr_data.gradient import gradient_score, gradient_vector, patch_positions
    from wbsr_data.hes.dataset import HESPairedImageDataset
    from wbsr_data.patch_index import IndexSettings, PatchIndex
    from wbsr_data.preparation import prepare
    from wbsr_data.preparation.recipe import Recipe
    from wbsr_data.preparation.target import Target
    from wbsr_data.sampler import HESSampler

__all__ = [
    "Crop",
    "Crops",
    "DDAPairedImageDataset",
    "DrawPlan",
    "HESPairedImageDataset",
    "HESSampler",
    "IndexSettings",
    "PatchIndex",
    "Recipe",
    "Target",
    "class_probabilities",
    "classify",
    "decode_image",
    "edge_score",
    "gradient_score",
    "gradient_vector",
    "patch_positions",
    "prepare",
    "thresholds",
]

_HOMES = {
    "wbsr_base.pixels.images": ["decode_image"],
    "wbsr_data.crop": ["Crop", "Crops"],
    "wbsr_data.dda.dataset": ["DDAPairedImageDataset"],
    "wbsr_data.difficulty": ["class_probabilities", "classify", "thresholds"],
    "wbsr_data.draws": ["DrawPlan"],
    "wbsr_data.edge": ["edge_score"],
    "wbsr_data.gradient": ["gradient_score", "gradient_vector", "patch_positions"],
    "wbsr_data.hes.dataset": ["HESPairedImageDataset"],
    "wbsr_data.patch_index": ["IndexSettings", "PatchIndex"],
    "wbsr_data.preparation": ["prepare"],
    "wbsr_data.preparation.recipe": ["Recipe"],
    "wbsr_data.preparation.target": ["Target"],
    "wbsr_data.sampler": ["HESSampler"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__


if "basicsr" in sys.modules:  # in a BasicSR program, a plain `import wbsr_data` registers both data sets
    importlib.import_module("wbsr_data.dda.dataset")
