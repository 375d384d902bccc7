"""Registers our architectures in BasicSR, so that `network_g: {type: Supernet, ...}` finds them."""

from wbsr_arch.classsr import ClassSR
from wbsr_arch.lr_resnet import LRResNet
from wbsr_arch.supernet import Supernet
from wbsr_base.basicsr import ARCH_REGISTRY

for _architecture in (Supernet, ClassSR):
    ARCH_REGISTRY.register(_architecture)

__all__ = ["ClassSR", "LRResNet", "Supernet"]
