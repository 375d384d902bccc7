"""The skeletons of all subnets of a backbone, each with the weights of the full network that it runs on, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from wbsr_arch.masking import is_leading_slice
from wbsr_arch.skeleton import Slot, build_skeleton, check_shapes, match_names, slots
from wbsr_arch.subnet import Subnet

Family = dict[Subnet, tuple[nn.Module, list[Slot]]]


def build_family(
    backbone: Mapping[str, Any],
    network: nn.Module,
    widths: Sequence[int],
    depths: Sequence[int],
    width_arg: str,
    depth_arg: str,
) -> Family:
    """Skeleton and slots of every subnet; the arguments are `Supernet`'s, `network` is the full one.

    Raises:
        ValueError: a subnet's weights are no leading slices of the full network's, or slicing them means nothing.
    """
    what = f"backbone {backbone['type']}"

    def build(width: int, depth: int) -> nn.Module:
        return build_skeleton({**backbone, width_arg: width, depth_arg: depth})

    grid = {(width, depth): build(width, depth) for depth in depths for width in widths}
    # Two widths at least tell an output layer, whose channels stay, from a block, whose channels follow the width.
    roles = list(widths) if len(widths) > 1 or len(depths) == 1 else [widths[0], 2 * widths[0]]
    known = {**grid, **{(width, depth): build(width, depth) for depth in depths for width in set(roles) - set(widths)}}
    deepest = [known[width, depths[-1]] for width in roles]
    family: Family = {}
    for depth in depths:
        names = match_names([known[width, depth] for width in roles], deepest, what)
        for width in widths:
            check_shapes(grid[width, depth], network, names, what)
            family[Subnet(width, depth)] = grid[width, depth], slots(grid[width, depth], network, names)
    if not is_leading_slice(grid[widths[0], depths[0]], grid[widths[-1], depths[0]], int(backbone.get("num_in_ch", 3))):
        raise ValueError(
            f"{what}: with {width_arg} {widths[0]} it is not what remains of {widths[-1]} when the other channels are "
            "zero (it concatenates features, or packs or normalises them together), so the two can't share weights: "
            "choose another backbone or width_arg, or a single width"
        )
    return family
