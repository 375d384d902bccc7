"""Everything of WBSR in BasicSR's registries: import this module before BasicSR's pipelines run."""

from wbsr_arch import ClassSR, Supernet
from wbsr_data import DDAPairedImageDataset, HESPairedImageDataset
from wbsr_losses import BDLoss
from wbsr_models import ClassSRModel, WBSRModel

__all__ = [
    "BDLoss",
    "ClassSR",
    "ClassSRModel",
    "DDAPairedImageDataset",
    "HESPairedImageDataset",
    "Supernet",
    "WBSRModel",
]
