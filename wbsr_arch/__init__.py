"""Networks for dynamic inference over BasicSR's architectures: weight-sharing supernets, and ClassSR to compare with.

And `LRResNet`, a plain architecture that computes at LR size. Importing one registers all in BasicSR.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbsr_arch.registration import ClassSR as ClassSR
    from wbsr_arch.registration import LRResNet as LRResNet
    from wbsr_arch.registration import Supernet as Supernet
    from wbsr_arch.subnet import Subnet as Subnet

_HOME = {"ClassSR": "registration", "LRResNet": "registration", "Subnet": "subnet", "Supernet": "registration"}
__all__ = ["ClassSR", "LRResNet", "Subnet", "Supernet"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


if "basicsr" in sys.modules:  # inside a BasicSR program, `import wbsr_arch` alone registers
    from wbsr_arch.registration import ClassSR, LRResNet, Supernet
