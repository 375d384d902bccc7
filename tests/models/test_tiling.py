"""Tiles cover an image once, joined where that is cheaper, with the halo that was asked for."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbsr_models.inference.tiling import FADE, Tile, plan_tiles

COSTS = [1.0, 1.5, 2.5, 6.0]


def cost(tiles, call_pixels, costs=COSTS):
    return sum(costs[tile.subnet] * (tile.window_height * tile.window_width + call_pixels) for tile in tiles)


@st.composite
def plans(draw):
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    patch = draw(st.integers(1, 40))
    choice = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 4, (-(-height // patch), -(-width // patch)))
    halo, max_tile = draw(st.integers(0, 9)), draw(st.integers(1, 120))
    return choice, height, width, patch, halo, max_tile


@settings(max_examples=60, deadline=None)
@given(plans())
def test_every_pixel_is_in_one_tile_and_has_its_halo_and_no_cheaper_subnet_than_routed(plan):
    choice, height, width, patch, halo, max_tile = plan
    written = np.zeros((height, width), dtype=int)
    given_subnet = np.full((height, width), -1)
    for tile in plan_tiles(choice, height, width, patch, halo, COSTS, max_tile):
        written[tile.top : tile.bottom, tile.left : tile.right] += 1
        given_subnet[tile.top : tile.bottom, tile.left : tile.right] = tile.subnet
        assert tile.window_top == max(tile.top - halo, 0)
        assert tile.window_left == max(tile.left - halo, 0)
        assert tile.window_top + tile.window_height == min(tile.bottom + halo, height)
        assert tile.window_left + tile.window_width == min(tile.right + halo, width)
        assert max(tile.bottom - tile.top, tile.right - tile.left) <= max(max_tile, patch)
        routed = choice[tile.top // patch : -(-tile.bottom // patch), tile.left // patch : -(-tile.right // patch)]
        assert tile.subnet == routed.max()
    assert (written == 1).all()
    asked = np.kron(choice, np.ones((patch, patch), dtype=int))[:height, :width]
    assert (given_subnet >= asked).all()


def every_guillotine(choice, top, bottom, left, right, patch, parts, size):
    """The cheapest cost by plain recursion over all cuts, without call costs: what the plan must reach."""

    def best(a, b, c, d):
        subnet, whole = choice[a:b, c:d].max(), 0
        for margin, share in parts[subnet].items():
            height, width = (
                min(upper * patch + margin, side) - max(lower * patch - margin, 0)
                for lower, upper, side in ((a, b, size[0]), (c, d, size[1]))
            )
            whole += COSTS[subnet] * share * height * width
        rows = [best(a, cut, c, d) + best(cut, b, c, d) for cut in range(a + 1, b)]
        cols = [best(a, b, c, cut) + best(a, b, cut, d) for cut in range(c + 1, d)]
        return min([whole, *rows, *cols])

    return best(top, bottom, left, right)


@pytest.mark.parametrize("seed", range(6))
def test_no_guillotine_partition_is_cheaper(seed):
    choice = np.random.default_rng(seed).integers(0, 4, (3, 4))
    tiles = plan_tiles(choice, 44, 60, 16, 3, COSTS, 64, call_pixels=0)
    assert cost(tiles, 0) == pytest.approx(every_guillotine(choice, 0, 3, 0, 4, 16, [{3: 1.0}] * 4, (44, 60)))


@pytest.mark.parametrize("seed", range(6))
def test_no_guillotine_partition_is_cheaper_where_less_than_the_window_is_computed(seed):
    choice = np.random.default_rng(seed).integers(0, 4, (3, 4))
    parts = [{math.inf: 0.2 * m, 0.5: 0.8 - 0.2 * m, 0.0: 0.2} for m in range(4)]
    tiles = plan_tiles(choice, 44, 60, 16, 5, COSTS, 64, parts=parts)
    spent = sum(COSTS[tile.subnet] * tile.computed_area(parts[tile.subnet]) for tile in tiles)
    within = [{min(margin + FADE, 5): share for margin, share in shares.items()} for shares in parts]
    assert spent == pytest.approx(every_guillotine(choice, 0, 3, 0, 4, 16, within, (44, 60)))
    whole = plan_tiles(choice, 44, 60, 16, 5, COSTS, 64)
    assert spent <= sum(COSTS[tile.subnet] * tile.computed_area(parts[tile.subnet]) for tile in whole) + 1e-9


def test_a_thinner_halo_in_most_layers_joins_less():
    choice = np.random.default_rng(0).integers(0, 2, (8, 8))
    thin = [{math.inf: 0.2, 0.5: 0.8}] * 2
    joined = plan_tiles(choice, 256, 256, 32, 4, [1.0, 1.6], 256)
    assert len(plan_tiles(choice, 256, 256, 32, 4, [1.0, 1.6], 256, parts=thin)) > len(joined)


def test_a_tile_knows_its_margins_and_what_is_computed_of_them():
    tile = Tile(0, 32, 64, 0, 48, 30, 0, 35, 49)
    assert tile.rims == (1, 1, 0, 1)
    assert tile.margins == (1, 0, 0, 0)
    assert tile.computed_area({math.inf: 1.0}) == tile.window_height * tile.window_width
    assert tile.computed_area({math.inf: 0.5, 0.5: 0.5}) == pytest.approx((35 * 49 + 34.5 * 49) / 2)


def test_patches_of_one_subnet_become_one_tile_of_any_rectangle():
    choice = np.zeros((3, 5), dtype=int)
    (tile,) = plan_tiles(choice, 90, 150, 32, 4, COSTS, 160)
    assert (tile.bottom, tile.right, tile.window_height * tile.window_width) == (90, 150, 90 * 150)


@pytest.mark.parametrize(("max_pixels", "longest"), [(0, 32), (72 * 40, 64), (20_000, 192)])
def test_no_window_of_joined_patches_is_too_large_for_the_memory_whatever_its_shape(max_pixels, longest):
    tiles = plan_tiles(np.zeros((3, 9), dtype=int), 96, 288, 32, 4, COSTS, 288, max_pixels=max_pixels)
    assert sum((tile.bottom - tile.top) * (tile.right - tile.left) for tile in tiles) == 96 * 288
    assert max(tile.right - tile.left for tile in tiles) == longest
    assert max(tile.window_height * tile.window_width for tile in tiles) <= max(max_pixels, 40 * 40)


def test_large_images_are_cut_into_blocks_of_equal_size():
    tiles = plan_tiles(np.zeros((9, 9), dtype=int), 288, 288, 32, 4, COSTS, 256)
    assert sorted({tile.bottom - tile.top for tile in tiles}) == [128, 160]


def test_a_dear_patch_amid_cheap_ones_stays_alone_and_a_cheap_one_amid_dear_ones_does_not():
    choice = np.zeros((5, 5), dtype=int)
    choice[2, 2] = 3
    tiles = plan_tiles(choice, 160, 160, 32, 4, COSTS, 160)
    assert [tile.bottom - tile.top for tile in tiles if tile.subnet == 3] == [32]
    choice = np.full((5, 5), 3)
    choice[2, 2] = 2
    assert len(plan_tiles(choice, 160, 160, 32, 16, COSTS, 160)) == 1


def test_a_dearer_call_makes_fewer_tiles():
    choice = np.random.default_rng(0).integers(0, 4, (8, 8))
    counts = [len(plan_tiles(choice, 256, 256, 32, 2, COSTS, 256, call)) for call in (0, 500, 10**6)]
    assert counts[0] >= counts[1] > counts[2] == 1


def test_joining_never_costs_more_than_single_patches():
    for seed, halo in itertools.product(range(5), (0, 4)):
        choice = np.random.default_rng(seed).integers(0, 4, (6, 7))
        joined = plan_tiles(choice, 180, 210, 32, halo, COSTS, 256)
        apart = plan_tiles(choice, 180, 210, 32, halo, COSTS, 32)
        assert cost(joined, 128) <= cost(apart, 128)


def test_a_subnet_that_is_dear_to_start_is_joined_and_another_is_not():
    """Two halves of a picture, each a chequerboard of two subnets; starting costs something in the upper half alone."""
    choice = np.array([[0, 1] * 4, [1, 0] * 4, [2, 3] * 4, [3, 2] * 4])
    tiles = plan_tiles(choice, 128, 256, 32, 0, COSTS, 256, call_pixels=[2000, 2000, 0, 0])
    assert [tile.subnet for tile in tiles if tile.bottom <= 64] == [1]
    assert len([tile for tile in tiles if tile.top >= 64]) == 16
