"""A supernet's subnets compiled by torch.compile, each when it is first run (`train:compute: {compile: true}`).

A skeleton whose weights change under it is nothing that a compiler can follow. So a subnet is compiled as a function of
its weights, the leading slices, and of the images; gradients reach the shared weights through the slices, as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CodeType, FunctionType

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wbsr_arch.subnet import Subnet
from wbsr_arch.supernet import Supernet

Function = Callable[[Mapping[str, Tensor], Tensor], Tensor]


class CompiledSupernet:
    """Called as the supernet is, and returns the same up to rounding.

    Args:
        network: whose weights are used as they are at each call.
        backend: of torch.compile.
    """

    def __init__(self, network: Supernet, backend: str = "inductor") -> None:
        self._network, self._backend = network, backend
        self._functions: dict[Subnet, Function] = {}

    def __call__(self, x: Tensor, subnet: Subnet) -> Tensor:
        """Upscale (N, C, H, W) by a subnet."""
        skeleton = self._network.skeleton(subnet)
        if subnet not in self._functions:
            self._functions[subnet] = torch.compile(_function(skeleton), dynamic=False, backend=self._backend)
        skeleton.train(self._network.training)
        return self._functions[subnet](self._network.slices(subnet), x)


def _function(skeleton: nn.Module) -> Function:
    def run(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = functional_call(skeleton, dict(weights), (x,))
        return output

    # The compiler counts what it has made of one piece of code, and stops after some: each subnet has its own.
    code: CodeType = run.__code__.replace(co_name=f"run_{id(skeleton)}")
    return FunctionType(code, run.__globals__, run.__name__, run.__defaults__, run.__closure__)
