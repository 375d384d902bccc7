"""What a network costs, by operators counted while it runs on `meta` tensors, so that nothing is computed.

Convention of the paper and of ClassSR and ARM: FLOPs = 2 x multiply-accumulates, for one LR patch of 32 x 32. torch's
formulas know convolutions and matrix products; biases, activations and pooling are not counted.

Processors compute the output channels of a convolution by whole vectors, so that 52 take as long as 64. *Work* is FLOPs
with these channels rounded up so; it follows time more closely (docs/findings/tiles.md).
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

REFERENCE_PATCH = 32

_VECTOR = 16  # channels in float32 of 512 bits


class Count(NamedTuple):
    """`flops` of one run and its `work`, the `calls` of operators that they are of, the `shape` of the output, and the
    name of the last layer with weights to run, which makes the output; `` if the network itself holds them or there are
    none."""

    flops: int
    work: float
    calls: int
    shape: torch.Size
    output_layer: str


def count_flops(network: nn.Module, in_channels: int = 3, size: int = REFERENCE_PATCH) -> int:
    """FLOPs of `network` for one input of shape (1, in_channels, size, size)."""
    return dry_run(network, in_channels, size).flops


def dry_run(network: nn.Module, in_channels: int = 3, size: int = REFERENCE_PATCH) -> Count:
    """Run `network` on an input of shape (1, in_channels, size, size) without computing.

    Raises:
        ValueError: the network takes no such input, or computes with values while it runs.
    """
    if any(weight.device.type != "meta" for weight in network.state_dict().values()):
        network = copy.deepcopy(network).to("meta")
    try:
        with (
            torch.inference_mode(False),  # in it operators would not be seen as their parts
            torch.no_grad(),
            kept_attributes(network),
            _order_of_layers(network) as layers,
            _Counter() as counter,
        ):
            output = network(torch.empty(1, in_channels, size, size, device="meta"))
    except (RuntimeError, TypeError, NotImplementedError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{type(network).__name__} can't be counted: it does not run on an input of shape "
            f"(1, {in_channels}, {size}, {size}) without values ({reason}); choose another backbone"
        ) from error
    return Count(counter.flops, counter.work, counter.calls, output.shape, layers[-1] if layers else "")


def count_parameters(network: nn.Module) -> int:
    """Number of scalars in the parameters of `network`."""
    return sum(math.prod(parameter.shape) for parameter in network.parameters())


@contextmanager
def _order_of_layers(network: nn.Module) -> Iterator[list[str]]:
    """The names of the layers with weights of their own, in the order in which they end."""
    names: list[str] = []

    def noting(name: str) -> Any:
        return lambda *_: names.append(name)

    layers = [(name, module) for name, module in network.named_modules() if module._parameters]
    hooks = [module.register_forward_hook(noting(name)) for name, module in layers]
    try:
        yield names
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def kept_attributes(network: nn.Module) -> Iterator[None]:
    """Put back the plain tensor attributes of `network` that a run overwrites: RCAN and EDSR move `mean` to the input's
    device and dtype."""
    kept = [
        (module, {name: value for name, value in vars(module).items() if isinstance(value, Tensor)})
        for module in network.modules()
    ]
    try:
        yield
    finally:
        for module, attributes in kept:
            vars(module).update(attributes)


class _Counter(TorchDispatchMode):  # type: ignore[misc,no-untyped-call]
    """Adds up FLOPs and work of the operators that torch has a formula for.

    torch's `FlopCounterMode` does the same, but a deep network repeats a few operators a thousand times, and torch
    infers the shape of each result anew in Python. Here an operator met before on the same shapes is not run again.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops, self.work, self.calls = 0, 0.0, 0
        self._met: dict[Any, tuple[Tensor, int, float]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        key = (func, *map(_described, args), *((name, _described(value)) for name, value in kwargs.items()))
        if key not in self._met:
            result = func(*args, **kwargs)
            formula = flop_registry.get(func.overloadpacket)
            flops = 0 if formula is None else formula(*args, **kwargs, out_val=result)
            work = flops * _filling(func, args)
            if not isinstance(result, Tensor) or not _makes_anew(func):
                self._add(flops, work)
                return result
            self._met[key] = (result, flops, work)
        result, flops, work = self._met[key]
        self._add(flops, work)
        return result  # one object for all: nothing is ever written into it

    def _add(self, flops: int, work: float) -> None:
        self.flops += flops
        self.work += work
        self.calls += flops > 0


def _filling(func: Any, args: Any) -> float:
    """How many times the outputs of a convolution are the channels of the vectors that hold them; 1 for others."""
    if func.overloadpacket is not torch.ops.aten.convolution:
        return 1.0
    weight, transposed, groups = args[1], args[6], args[8]
    outputs = weight.shape[1 if transposed else 0]
    return 1.0 if groups > 1 else math.ceil(outputs / _VECTOR) * _VECTOR / outputs


def _described(value: Any) -> Any:
    return (value.shape, value.stride(), value.dtype) if isinstance(value, Tensor) else repr(value)


@functools.cache
def _makes_anew(func: Any) -> bool:
    """Whether an operator returns a tensor of its own: no view of an argument, nothing changed in place."""
    schema = func._schema
    return not schema.is_mutable and all(result.alias_info is None for result in schema.returns)
