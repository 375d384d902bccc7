"""Tiles fade into one another as it is written, and only there."""

import numpy as np
import pytest
import torch
from known_networks import OneNetwork
from torch import nn
from torch.nn import functional as F

from wbsr_models import EngineSettings
from wbsr_models.inference.memory import Memory
from wbsr_models.inference.planner import TilePlan
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.seams import rims
from wbsr_models.inference.tile_runner import TileRunner
from wbsr_models.inference.tiling import make_tile, plan_tiles


class Mean(nn.Module):
    """Every window becomes its mean, so that each tile is of one colour: the worst of seams."""

    def forward(self, x):
        return F.interpolate(x.mean((2, 3), keepdim=True).expand_as(x), scale_factor=2)


def run(x, plan, network=None):
    network, settings = OneNetwork(network or Mean()), EngineSettings()
    return TileRunner(NetworkPool(network, settings), Memory(network, settings))(x, plan)


def tiles_of(height, width, patch, halo):
    choice = np.zeros((-(-height // patch), -(-width // patch)), dtype=int)
    return plan_tiles(choice, height, width, patch, halo, [1.0], patch)


def test_between_two_tiles_lies_a_straight_line_and_beyond_it_nothing_changes():
    x = torch.zeros(3, 8, 16)
    x[..., 8:] = 1
    plan = TilePlan("tiles", tuple(make_tile(0, 0, 8, left, left + 8, 1, 8, 16) for left in (0, 8)), False)
    found = run(x, plan)
    low, high = 1 / 9, 8 / 9  # each window holds one column of the other half
    line = [low] * 14 + [low + (high - low) * (i + 0.5) / 4 for i in range(4)] + [high] * 14
    assert torch.allclose(found, torch.tensor(line).expand(3, 16, 32), atol=1e-6)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_where_four_tiles_meet_each_pixel_lies_between_them_whatever_their_order(order):
    x = torch.rand(3, 16, 24)
    tiles = tiles_of(16, 24, 8, 2)
    found = run(x, TilePlan("tiles", tuple(tiles[order]), False))
    colours = torch.stack([x[tile.window].mean((1, 2)) for tile in tiles])
    assert torch.equal(found, run(x, TilePlan("tiles", tuple(tiles), False)))
    assert (found <= colours.amax(0)[:, None, None] + 1e-6).all()
    assert (found >= colours.amin(0)[:, None, None] - 1e-6).all()
    steps = (found[..., 1:] - found[..., :-1]).abs().max()
    assert steps <= (colours.amax() - colours.amin()) / 4 + 1e-6  # a straight line over four pixels


def test_nothing_fades_without_a_halo_or_at_the_border_of_the_image():
    x = torch.rand(3, 16, 16)
    apart = run(x, TilePlan("tiles", tuple(tiles_of(16, 16, 8, 0)), False))
    for tile in tiles_of(16, 16, 8, 0):
        assert (apart[tile.target(2)] - x[tile.window].mean((1, 2))[:, None, None]).abs().max() < 1e-6
    (alone,) = tiles_of(16, 16, 16, 3)
    assert list(rims(alone, torch.rand(3, 64, 64), 4)) == []


def test_a_tile_fades_into_pixels_that_are_interpolated():
    x = torch.rand(3, 8, 16)
    plan = TilePlan("tiles", (make_tile(0, 0, 8, 0, 8, 1, 8, 16),), True)
    found, interpolated = run(x, plan), run(x, TilePlan("tiles", (), True))
    colour = x[..., :9].mean((1, 2))[:, None, None]
    expected = interpolated.clone()
    expected[..., :16] = colour
    expected[..., 16:18] += torch.tensor([3 / 8, 1 / 8]) * (colour - expected[..., 16:18])
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("halo", [1, 2, 5])
@pytest.mark.parametrize("size", [(40, 33), (8, 70), (1, 30)])
def test_rims_lie_around_their_tile_within_the_image_and_hold_what_its_window_says_there(scale, halo, size):
    height, width = size
    said = torch.rand(3, scale * height, scale * width)
    for tile in tiles_of(height, width, 8, halo):
        times = torch.zeros(scale * height, scale * width)
        window = tile.window
        output = said[
            ...,
            scale * window[1].start : scale * window[1].stop,
            scale * window[2].start : scale * window[2].stop,
        ]
        for rim in rims(tile, output, scale):
            assert torch.equal(rim.pixels, said[rim.target])
            times[rim.target[1:]] += 1
        expected = torch.zeros_like(times)
        expected[
            max(0, tile.top - 1) * scale : (tile.bottom + 1) * scale,
            max(0, tile.left - 1) * scale : (tile.right + 1) * scale,
        ] = 1
        expected[tile.target(scale)[1:]] = 0
        assert torch.equal(times, expected)


def test_what_is_kept_of_an_output_is_a_copy():
    output = torch.rand(3, 48, 48)
    (kept, *_) = rims(make_tile(0, 8, 16, 8, 16, 2, 64, 64), output, 4)
    assert kept.pixels.untyped_storage().nbytes() < output.untyped_storage().nbytes() / 4
