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
from wbsr_models.inference.seams import fade, rims
from wbsr_models.inference.tile_runner import TileRunner
from wbsr_models.inference.tiling import make_tile, plan_tiles


class Mean(nn.Module):
    """Every window becomes its mean, so that each tile is of one colour: the worst of seams."""

    def forward(self, x):
        return F.interpolate(x.mean((2, 3), keepdim=True).expand_as(x), scale_factor=2)


def run(x, plan):
    network, settings = OneNetwork(Mean()), EngineSettings()
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


def cut(*places):
    """Tiles of these rows and columns of a 24 x 24 image, with a halo of 2."""
    return [make_tile(0, *place, 2, 24, 24) for place in places]


FOUR = cut((0, 8, 0, 8), (0, 8, 8, 24), (8, 24, 0, 8), (8, 24, 8, 24))
LAYOUTS = {
    "four corners": FOUR,
    "a T": cut((0, 8, 0, 24), (8, 24, 0, 12), (8, 24, 12, 24)),
    "a tile of one pixel": cut((0, 8, 0, 24), (8, 9, 0, 8), (8, 9, 8, 9), (8, 9, 9, 24), (9, 24, 0, 24)),
}


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_however_tiles_meet_their_weights_add_up_to_one_and_no_step_is_larger_than_the_lines(layout, scale):
    tiles = LAYOUTS[layout]
    total = torch.zeros(1, 24 * scale, 24 * scale)
    for white in tiles:
        canvas, found = torch.zeros(1, 24 * scale, 24 * scale), []
        for tile in tiles:
            output = torch.full((1, tile.window_height * scale, tile.window_width * scale), float(tile is white))
            canvas[tile.target(scale)] = output[tile.inside(scale)]
            found += rims(tile, output, canvas, scale)
        fade(canvas, found)
        total += canvas
        steps = [canvas.diff(dim=dim).abs().max() for dim in (1, 2)]
        assert max(steps) <= 1 / (2 * scale) + 1e-6
        assert canvas.min() >= -1e-6
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


def test_the_order_of_tiles_and_the_side_they_lie_on_make_no_difference():
    x = torch.rand(3, 24, 24)
    found = run(x, TilePlan("tiles", tuple(FOUR), False))
    assert torch.equal(found, run(x, TilePlan("tiles", tuple(FOUR[::-1]), False)))
    turned = cut(*((24 - t.bottom, 24 - t.top, 24 - t.right, 24 - t.left) for t in FOUR))
    mirrored = run(x.flip(1, 2), TilePlan("tiles", tuple(turned), False)).flip(1, 2)
    assert torch.allclose(found, mirrored, atol=1e-6)


def test_nothing_fades_without_a_halo_or_at_the_border_of_the_image():
    x = torch.rand(3, 16, 16)
    apart = run(x, TilePlan("tiles", tuple(tiles_of(16, 16, 8, 0)), False))
    for tile in tiles_of(16, 16, 8, 0):
        assert (apart[tile.target(2)] - x[tile.window].mean((1, 2))[:, None, None]).abs().max() < 1e-6
    (alone,) = tiles_of(16, 16, 16, 3)
    assert list(rims(alone, torch.rand(3, 64, 64), torch.rand(3, 64, 64), 4)) == []


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
        for rim in rims(tile, output, said, scale):
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
    (kept, *_) = rims(make_tile(0, 8, 16, 8, 16, 2, 64, 64), output, output, 4)
    assert kept.pixels.untyped_storage().nbytes() < output.untyped_storage().nbytes() / 4
