"""Skeletons: the backbone's architecture built with smaller arguments, without weights, and whose weights they share.

A skeleton's parameter is the leading slice of the full network's parameter of that name. One kind of name moves with
the depth: where layers of different roles are numbered in one list (SRVGGNetCompact keeps its blocks and its output
layer in `body`), the layers behind the blocks have other numbers in a shallower network. They are told by their shapes
over all widths, and matched from the end of the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wbsr_arch import backbone as backbones


def build_skeleton(options: Mapping[str, Any]) -> nn.Module:
    """The architecture that `options` describe, with weights on `meta` and the random generators as they were."""
    with torch.random.fork_rng(devices=[]):
        skeleton = _build_on_meta(options) or backbones.build(options)
    return skeleton.to("meta").requires_grad_(False)


def match_names(small: Sequence[nn.Module], full: Sequence[nn.Module], what: str) -> dict[str, str]:
    """For each weight of the small networks the name of its counterpart in the full ones.

    Args:
        small: networks of one depth, of several widths, so that roles can be told apart.
        full: the networks of the full depth, in the same order of widths.
        what: how errors name the architecture.

    Raises:
        ValueError: a weight has no counterpart.
    """
    return dict(_match(tuple(small), tuple(full), "", "", what))


def check_shapes(small: nn.Module, full: nn.Module, names: Mapping[str, str], what: str) -> None:
    """Check that each weight of the small network can be a leading slice of the full network's.

    Raises:
        ValueError: a weight has another number of dimensions or is larger, or nothing is left of it.
    """
    large = full.state_dict()
    for name, weight in small.state_dict().items():
        shape, room = tuple(weight.shape), tuple(large[names[name]].shape)
        if 0 in shape:
            raise ValueError(f"{what}: {name} is left without channels, {shape}: raise the smallest width")
        if len(shape) != len(room) or any(n > m for n, m in zip(shape, room, strict=True)):
            raise ValueError(
                f"{what}: {name} is {shape} in a subnet and {room} in the full network, so it is no leading slice: "
                "choose other widths or depths, or other width_arg or depth_arg"
            )


@dataclass
class Slot:
    """Where one weight of a skeleton goes, and the weight of the full network that it is the leading slice of."""

    name: str
    key: str
    holder: dict[str, Any]  # of the skeleton's module: its parameters or buffers
    blank: Tensor
    full_key: str
    full_holder: dict[str, Any]

    def slice(self) -> Tensor:
        """The weight, a view into the full network's."""
        return leading(self.full_holder[self.full_key], self.blank.shape)


def slots(skeleton: nn.Module, full: nn.Module, names: Mapping[str, str]) -> list[Slot]:
    """A slot for each entry of the skeleton's state dict, in its order; found once, since walking a deep network costs
    as much as running it on a few pixels."""
    places, full_places = _places(skeleton), _places(full)
    found = []
    for name, blank in skeleton.state_dict(keep_vars=True).items():
        (holder, key), (full_holder, full_key) = places[name], full_places[names[name]]
        found.append(Slot(name, key, holder, blank, full_key, full_holder))
    return found


def leading(weight: Tensor, shape: torch.Size) -> Tensor:
    """The leading slice of `weight` of a shape."""
    for dimension, size in enumerate(shape):
        if weight.shape[dimension] != size:
            weight = weight.narrow(dimension, 0, size)
    return weight


def _places(network: nn.Module) -> dict[str, tuple[dict[str, Any], str]]:
    """For each name of the state dict the dictionary that holds it, and its key there."""
    return {
        f"{at}.{key}" if at else key: (holder, key)
        for at, module in network.named_modules()
        for holder in (module._parameters, module._buffers)
        for key in holder
    }


Modules = tuple[nn.Module, ...]


def _match(small: Modules, full: Modules, at: str, full_at: str, what: str) -> Iterator[tuple[str, str]]:
    own = {**small[0]._parameters, **small[0]._buffers}
    for name, weight in own.items():
        if weight is not None:
            if name not in full[0]._parameters and name not in full[0]._buffers:
                raise ValueError(f"{what}: the subnet's parameter {at}{name} is not in the full network")
            yield at + name, full_at + name
    for name, full_name in _match_children(small, full, at, what):
        inner = tuple(module.get_submodule(name) for module in small)
        full_inner = tuple(module.get_submodule(full_name) for module in full)
        yield from _match(inner, full_inner, f"{at}{name}.", f"{full_at}{full_name}.", what)


def _match_children(small: Modules, full: Modules, at: str, what: str) -> list[tuple[str, str]]:
    names, full_names = list(small[0]._modules), list(full[0]._modules)
    if len(names) == len(full_names) or not all(name.isdecimal() for name in names):
        lost = [name for name in names if name not in full_names and _role(small[0], name)[1]]
        if lost:
            raise ValueError(
                f"{what}: the subnet's layer {at}{lost[0]} is not in the full network: choose another depth_arg"
            )
        return [(name, name) for name in names if name in full_names]
    roles = [[_role(module, name) for name in names] for module in small]
    full_roles = [[_role(module, name) for name in full_names] for module in full]
    mine, theirs = list(zip(*roles, strict=True)), list(zip(*full_roles, strict=True))
    for tail in range(min(len(mine), len(theirs)) + 1):
        head = len(mine) - tail
        if mine[:head] == theirs[:head] and mine[head:] == theirs[len(theirs) - tail :]:
            return list(zip(names, full_names[:head] + full_names[len(theirs) - tail :], strict=True))
    raise ValueError(
        f"{what}: the {len(mine)} layers {at}* of a subnet are not the first ones, or the first and last ones, of the "
        f"full network's {len(theirs)}: choose another depth_arg"
    )


def _role(module: nn.Module, child: str) -> tuple[type[nn.Module], tuple[tuple[str, tuple[int, ...]], ...]]:
    """What a layer is known by: its type, and the names and shapes of its weights."""
    layer = module.get_submodule(child)
    return type(layer), tuple((name, tuple(weight.shape)) for name, weight in layer.state_dict().items())


def _build_on_meta(options: Mapping[str, Any]) -> nn.Module | None:
    """The architecture built without ever making its weights; None where that fails or loses a plain attribute."""
    try:
        with torch.device("meta"):
            network = backbones.build(options)
    except (RuntimeError, TypeError):  # its constructor computes with values
        return None
    attributes = (value for module in network.modules() for value in vars(module).values())
    return None if any(isinstance(value, Tensor) and value.is_meta for value in attributes) else network
