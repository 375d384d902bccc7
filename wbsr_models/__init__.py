"""Dynamic inference and the BasicSR model that trains a supernet. Importing `WBSRModel` registers it in BasicSR."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbsr_models.upscaler import DynamicUpscaler as DynamicUpscaler
    from wbsr_models.wbsr_model import WBSRModel as WBSRModel

__all__ = ["DynamicUpscaler", "WBSRModel"]


def __getattr__(name: str) -> Any:
    if name == "WBSRModel":
        from wbsr_models.wbsr_model import WBSRModel

        return WBSRModel
    if name == "DynamicUpscaler":
        from wbsr_models.upscaler import DynamicUpscaler

        return DynamicUpscaler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "basicsr" in sys.modules:  # inside a BasicSR program, `import wbsr_models` alone registers
    from wbsr_models.wbsr_model import WBSRModel
