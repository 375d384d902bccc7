"""Registers `Supernet` among BasicSR's architectures, so that `network_g: {type: Supernet, ...}` finds it."""

from wbsr import compat

compat.install()

from basicsr.utils.registry import ARCH_REGISTRY  # noqa: E402

from wbsr_arch.supernet import Supernet  # noqa: E402

ARCH_REGISTRY.register(Supernet)

__all__ = ["Supernet"]
