"""Weight-sharing supernets over BasicSR's architectures. Importing `Supernet` registers it in BasicSR."""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbsr_arch.registration import Supernet as Supernet
    from wbsr_arch.subnet import Subnet as Subnet

__all__ = ["Subnet", "Supernet"]


def __getattr__(name: str) -> Any:
    if name == "Supernet":
        from wbsr_arch.registration import Supernet

        return Supernet
    if name == "Subnet":
        from wbsr_arch.subnet import Subnet

        return Subnet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "basicsr" in sys.modules:  # inside a BasicSR program, `import wbsr_arch` alone registers
    from wbsr_arch.registration import Supernet
