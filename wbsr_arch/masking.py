"""Whether slicing an architecture in width means anything: a narrow network must be what remains of the wide one.

Convolutions, activations that keep zero, pooling, channel attention and PixelShuffle let each channel keep its number.
Set all weights of the wide network beyond a leading slice to zero, and it computes exactly what the narrow network
computes with that slice. Where features are concatenated, heads are packed in one weight, or channels are normalised
together, a channel of the narrow network stands elsewhere in the wide one: the two would share weights of different
meanings, and train against each other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wbsr_arch.cost import kept_attributes
from wbsr_arch.skeleton import leading

_SIZE = 8  # LR pixels of the trial input
_TOLERANCE = 1e-5  # of the output's range; what fails misses by a large part of it


@torch.no_grad()
def is_leading_slice(narrow: nn.Module, wide: nn.Module, in_channels: int) -> bool:
    """Whether the wide network with all weights outside the narrow one's shapes at zero computes the narrow one.

    Both are skeletons of the same depth; random weights and a random input in float64 take the place of theirs.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = {name: weight.shape for name, weight in narrow.state_dict().items()}
    small, large = {}, {}
    for name, blank in wide.state_dict().items():
        if blank.is_floating_point():
            small[name] = _random(shapes[name], generator)
            large[name] = torch.zeros(blank.shape, dtype=torch.float64)
            leading(large[name], shapes[name]).copy_(small[name])
    x = torch.rand(1, in_channels, _SIZE, _SIZE, generator=generator, dtype=torch.float64)
    with kept_attributes(narrow), kept_attributes(wide):
        expected, found = functional_call(narrow, small, (x,)), functional_call(wide, large, (x,))
    return bool((found - expected).abs().max() <= _TOLERANCE * (expected - expected.mean()).abs().max())


def _random(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Weights that keep the range of what passes through them."""
    fan_in = max(1, math.prod(shape[1:]))
    return torch.randn(shape, generator=generator, dtype=torch.float64) / math.sqrt(fan_in)
