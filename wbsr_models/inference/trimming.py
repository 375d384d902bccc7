"""A network that computes only what its tile needs: the halo ends where no later layer looks outward any more.

A window is read with a halo around its tile, and every layer of a plain network computes all of it. But the layers that
raise the resolution, the *head*, look only a little farther than the tile, and they are more than half of the FLOPs. So
a trimmed network's head convolutions compute the tile and the *margin* that the layers behind them still read, no more.
Going backwards through the head, with k the width of a convolution's kernel and s its resolution over the input's,

    margin of the last = 0        margin = ⌈(next margin + (next k - 1) / 2) · s / next s⌉

In place of a convolution's own padding of r = (k - 1) / 2 zeros, each side gets

    min(r, margin + r - present)

pixels, where `present` of those beyond that side of the tile have come so far; a negative number cuts off. Where there
are neighbours in plenty nothing is padded and the output shrinks by itself; where the window ends with the image,
`present` is 0 and the zeros meet the true border as in a dense run. The output of the last convolution is filled up
with zeros to the window's size, so that what bypasses the head (a bilinear base) can be added to it.

Which layers form the head is found by running the network, for any architecture whose convolutions come one after the
other once the resolution rises. Others, and those where trimming would change the tile, have no head and stay whole.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import nn

from wbsr_arch.cost import REFERENCE_PATCH, dry_run

# LR pixels that a window has above, below, left and right of what is used of its output: the tile with its rims, which
# is called the tile here
Margins = tuple[int, int, int, int]
NO_MARGINS: Margins = (0, 0, 0, 0)

# Shares of a network's cost, by the LR pixels around the tile over which they are spent; `inf`: over the whole window.
Parts = Mapping[float, float]
WHOLE: Parts = {math.inf: 1.0}

_Ran = tuple[str, nn.Conv2d, float]  # a convolution's name, itself, and its resolution over the input's

_TILE = (2, 3)  # LR pixels of the tile on which a trimmed network is compared with the whole one
_TOLERANCE = 1e-9  # in float64, of the output's largest value

_logger = logging.getLogger("basicsr.wbsr_models")  # reaches the log file where BasicSR runs


@dataclass(frozen=True)
class Stage:
    """One convolution of a head.

    `name`: in the network; `scale`: its resolution over the input's; `radius`: pixels that it reads to each side;
    `margin`: pixels around the tile that it has to compute, of its own resolution.
    """

    name: str
    scale: int
    radius: int
    margin: int


@dataclass(frozen=True)
class Head:
    """The convolutions of a network that can be trimmed, in order; none: it has to run whole. `parts`: of its FLOPs."""

    stages: tuple[Stage, ...] = ()
    parts: Parts = field(default_factory=lambda: WHOLE)


def find_head(network: nn.Module, in_channels: int = 3) -> Head:
    """The longest head of `network` under which a tile stays the same, to float64's precision, on random pixels."""
    ran: list[_Ran] = []
    meta = copy.deepcopy(network).to("meta", torch.float32)
    for name, layer in meta.named_modules():
        if name and isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda layer, _, output, name=name: ran.append((name, layer, output.shape[-1] / REFERENCE_PATCH))
            )
    flops = dry_run(meta, in_channels).flops / REFERENCE_PATCH**2
    exact = copy.deepcopy(network).double()
    for stages in _candidates(ran):
        if _agrees(exact, stages, in_channels):
            return Head(stages, _parts(meta, stages, flops))
    _logger.debug("%s can't be trimmed: its layers compute all of a window's halo.", type(network).__name__)
    return Head()


def same_head(head: Head, network: nn.Module, flops: float) -> Head | None:
    """The head of `network`, of the architecture whose head at another width or depth is `head`; None where it has to
    be looked for. The trial runs, which take longer than a small image, are spared.

    Args:
        head: of the other network.
        network: of any width and depth.
        flops: of `network`, for each pixel of its input.
    """
    if not head.stages:
        return head
    named = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    last = named[-len(head.stages) :]
    same = [(stage.name, stage.radius) for stage in head.stages] == [(name, _radius(layer)) for name, layer in last]
    if not (same and all(_plain(layer) for _, layer in last)):
        return None
    return Head(head.stages, _parts(network, head.stages, flops))


def trim(network: nn.Module, stages: Sequence[Stage], margins: Margins) -> nn.Module:
    """`network` for windows with these margins around their tile, whose output of the tile is the same.

    It still maps (N, C, H, W) to (N, C, scale H, scale W); what lies around the tile is not to be used. It shares all
    weights with `network`, and all layers but the head's.
    """
    if not stages or margins == NO_MARGINS:
        return network
    layers: dict[str, nn.Module] = {}
    present, scale = list(margins), 1
    for stage in stages:
        present, scale = [side * stage.scale // scale for side in present], stage.scale
        pads = [min(stage.radius, stage.margin + stage.radius - side) for side in present]
        present = [side + pad - stage.radius for side, pad in zip(present, pads, strict=True)]
        layers[stage.name] = _padded(network.get_submodule(stage.name), pads)
    lost = [margin * scale - side for margin, side in zip(margins, present, strict=True)]
    layers[stages[-1].name] = nn.Sequential(layers[stages[-1].name], _border(lost))
    return _replaced(network, layers)


def _candidates(ran: Sequence[_Ran]) -> Iterator[tuple[Stage, ...]]:
    """What may be a head of a network whose convolutions ran in this order: from the last one before the resolution
    rises, whose output is shuffled to a higher one, and from the first one after."""
    names = [name for name, _, _ in ran]
    low = [position for position, (_, _, scale) in enumerate(ran) if scale <= 1]
    for first in (low[-1], low[-1] + 1) if low else ():
        convolutions = ran[first:]
        scales = [1.0, *(scale for _, _, scale in convolutions)]
        rising = all(after % before == 0 for before, after in pairwise(scales))
        if convolutions and rising and all(names.count(name) == 1 and _plain(layer) for name, layer, _ in convolutions):
            yield _stages(convolutions)


def _plain(layer: nn.Conv2d) -> bool:
    """Whether a convolution keeps the size of its input by zeros, as many on all sides."""
    sides = {d * (k - 1) / 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)}
    if not isinstance(layer.padding, str):
        sides |= set(layer.padding)
    elif layer.padding == "valid":
        sides.add(0)
    return layer.padding_mode == "zeros" and layer.stride == (1, 1) and sides == {_radius(layer)}


def _radius(layer: nn.Conv2d) -> int:
    return layer.dilation[0] * (layer.kernel_size[0] - 1) // 2


def _stages(convolutions: Sequence[_Ran]) -> tuple[Stage, ...]:
    """The margins, backwards from the last."""
    stages: list[Stage] = []
    for name, layer, scale in reversed(convolutions):
        read = (stages[0].margin + stages[0].radius) / stages[0].scale if stages else 0
        stages.insert(0, Stage(name, int(scale), _radius(layer), math.ceil(read * scale)))
    return tuple(stages)


def _parts(network: nn.Module, stages: Sequence[Stage], flops: float) -> Parts:
    """Shares of the network's FLOPs per pixel by margin in LR pixels."""
    parts = {math.inf: 1.0}
    for stage in stages:
        weights = network.get_parameter(f"{stage.name}.weight").numel()
        share = 2 * weights * stage.scale**2 / flops
        margin = stage.margin / stage.scale
        parts[math.inf] -= share
        parts[margin] = parts.get(margin, 0.0) + share
    return parts


def _agrees(network: nn.Module, stages: Sequence[Stage], in_channels: int) -> bool:
    """Whether the trimmed network gives the same tile, in a window that meets the image's border on two sides."""
    halo = math.ceil((stages[0].margin + stages[0].radius) / stages[0].scale) + 1
    margins = (halo, 0, 0, halo)
    weight = next(network.parameters())
    size = _TILE[0] + halo, _TILE[1] + halo
    pixels = torch.rand(1, in_channels, *size, dtype=weight.dtype, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            whole, found = (net(pixels.to(weight.device)) for net in (network, trim(network, stages, margins)))
    except RuntimeError:  # sizes that don't fit: something else reads what was cut off
        return False
    scale = whole.shape[-1] // size[1]
    whole, found = (output[..., halo * scale :, : _TILE[1] * scale] for output in (whole, found))
    return bool((whole - found).abs().max() <= _TOLERANCE * whole.abs().max())


def _padded(layer: nn.Module, pads: Sequence[int]) -> nn.Module:
    """A convolution with other padding, above, below, left and right; below 0 cuts off."""
    top, bottom, left, right = pads
    layer, even = copy.copy(layer), top == bottom >= 0 and left == right >= 0
    layer.__dict__["padding"] = (top, left) if even else (0, 0)
    return layer if even else nn.Sequential(_border(pads), layer)


def _border(pads: Sequence[int]) -> nn.Module:
    top, bottom, left, right = pads
    return nn.ZeroPad2d((left, right, top, bottom))


def _replaced(module: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of `module` with other layers at these names; all else is shared."""
    clone = copy.copy(module)
    clone._modules = dict(module._modules)
    for child in {name.split(".")[0] for name in layers}:
        inner = {name[len(child) + 1 :]: layer for name, layer in layers.items() if name.split(".")[0] == child}
        clone._modules[child] = inner[""] if "" in inner else _replaced(module.get_submodule(child), inner)
    return clone
