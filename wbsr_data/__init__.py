"""Difficulty of patches, and hierarchical equalization sampling (paper, section 3.2).

Names load on first use, so that the mathematics comes without BasicSR.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbsr_base.images import decode_image as decode_image
    from wbsr_data.difficulty import class_probabilities as class_probabilities
    from wbsr_data.difficulty import classify as classify
    from wbsr_data.difficulty import thresholds as thresholds
    from wbsr_data.draws import DrawPlan as DrawPlan
    from wbsr_data.draws import HESSampler as HESSampler
    from wbsr_data.edge import edge_score as edge_score
    from wbsr_data.gradient import gradient_score as gradient_score
    from wbsr_data.gradient import gradient_vector as gradient_vector
    from wbsr_data.gradient import patch_positions as patch_positions
    from wbsr_data.hes_dataset import HESPairedImageDataset as HESPairedImageDataset
    from wbsr_data.patch_index import IndexSettings as IndexSettings
    from wbsr_data.patch_index import PatchIndex as PatchIndex
    from wbsr_data.preparation import prepare as prepare
    from wbsr_data.preparation.recipe import Recipe as Recipe
    from wbsr_data.preparation.target import Target as Target

_HOME = {
    "DrawPlan": "draws",
    "HESPairedImageDataset": "hes_dataset",
    "HESSampler": "draws",
    "IndexSettings": "patch_index",
    "PatchIndex": "patch_index",
    "Recipe": "preparation.recipe",
    "Target": "preparation.target",
    "class_probabilities": "difficulty",
    "classify": "difficulty",
    "decode_image": "wbsr_base.images",
    "edge_score": "edge",
    "gradient_score": "gradient",
    "gradient_vector": "gradient",
    "patch_positions": "gradient",
    "prepare": "preparation",
    "thresholds": "difficulty",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME[name]
    return getattr(importlib.import_module(home if home.startswith("wbsr_") else f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__


if "basicsr" in sys.modules:  # a plain `import wbsr_data` in a BasicSR program registers the data set
    importlib.import_module("wbsr_data.hes_dataset")
