"""Registers our architectures in BasicSR, so that `network_g: {type: Supernet, ...}` finds them."""

from wbsr import compat

compat.install()

from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402

from wbsr_arch.classsr import ClassSR  # noqa: E402
from wbsr_arch.supernet import Supernet  # noqa: E402

for _architecture in (Supernet, ClassSR):
    ARCH_REGISTRY.register(_architecture)

__all__ = ["ClassSR", "Supernet"]
