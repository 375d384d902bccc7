"""Dynamic inference and the BasicSR models that train networks for it.

Importing `WBSRModel` or `ClassSRModel` registers it in BasicSR.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbsr_models.classsr_model import ClassSRModel as ClassSRModel
    from wbsr_models.upscaler import DynamicUpscaler as DynamicUpscaler
    from wbsr_models.wbsr_model import WBSRModel as WBSRModel

_HOME = {"ClassSRModel": "classsr_model", "DynamicUpscaler": "upscaler", "WBSRModel": "wbsr_model"}
__all__ = ["ClassSRModel", "DynamicUpscaler", "WBSRModel"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


if "basicsr" in sys.modules:  # inside a BasicSR program, `import wbsr_models` alone registers
    from wbsr_models.classsr_model import ClassSRModel
    from wbsr_models.wbsr_model import WBSRModel
