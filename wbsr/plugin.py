"""Everything of WBSR in BasicSR's registries: import this module before BasicSR's pipelines run."""

from wbsr import compat

compat.install()

from wbsr_arch import ClassSR, Supernet  # noqa: E402
from wbsr_data import HESPairedImageDataset  # noqa: E402
from wbsr_losses import BDLoss  # noqa: E402
from wbsr_models import ClassSRModel, WBSRModel  # noqa: E402

__all__ = ["BDLoss", "ClassSR", "ClassSRModel", "HESPairedImageDataset", "Supernet", "WBSRModel"]
