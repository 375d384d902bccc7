"""Dynamic inference and the BasicSR models that train networks for it.

DynamicUpscaler, EngineSettings, Profile, Routing    inference from Python
WBSRModel, ClassSRModel                              training and tests; importing one registers it in BasicSR
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbsr_models.classsr_model import ClassSRModel as ClassSRModel
    from wbsr_models.inference.settings import EngineSettings as EngineSettings
    from wbsr_models.inference.upscaler import DynamicUpscaler as DynamicUpscaler
    from wbsr_models.routing.policies import Routing as Routing
    from wbsr_models.routing.profile import Profile as Profile
    from wbsr_models.wbsr_model import WBSRModel as WBSRModel

_HOME = {
    "ClassSRModel": "classsr_model",
    "DynamicUpscaler": "inference.upscaler",
    "EngineSettings": "inference.settings",
    "Profile": "routing.profile",
    "Routing": "routing.policies",
    "WBSRModel": "wbsr_model",
}
__all__ = ["ClassSRModel", "DynamicUpscaler", "EngineSettings", "Profile", "Routing", "WBSRModel"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


if "basicsr" in sys.modules:  # inside a BasicSR program, `import wbsr_models` alone registers
    importlib.import_module("wbsr_models.classsr_model")
    importlib.import_module("wbsr_models.wbsr_model")
