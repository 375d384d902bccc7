"""Flat is where no channel moves by more than a level of 8 bits, as a search pixel by pixel finds it."""

import numpy as np
import pytest
import torch

from wbsr_data.flatness import flat_patches, flat_pixels
from wbsr_data.gradient import patch_positions


def by_search(levels, reach):
    """(H, W): flat pixels of (C, H, W) whole levels."""
    _, height, width = levels.shape
    busy = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if 0 <= v < height and 0 <= u < width:
                    busy[y, x] |= (np.abs(levels[:, y, x] - levels[:, v, u]) > 1).any()
    return np.array(
        [
            [not busy[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].any() for x in range(width)]
            for y in range(height)
        ]
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (23, 31)])
@pytest.mark.parametrize("reach", [0, 1, 2, 4])
def test_flat_pixels_and_patches_as_a_search_finds_them(size, reach):
    rng = np.random.default_rng(0)
    levels = np.full((3, *size), 200) + rng.integers(0, 2, (3, *size))
    for _ in range(max(1, levels[0].size // 200)):
        levels[rng.integers(3), rng.integers(size[0]), rng.integers(size[1])] -= 9
    expected = by_search(levels, reach)
    x = torch.from_numpy(levels.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(flat_pixels(x, reach).numpy(), expected)
    for side, stride in ((8, 8), (8, 5), (3, 3)):
        rows, cols = (patch_positions(length, side, stride).tolist() for length in size)
        whole = [[expected[y : y + side, x : x + side].all() for x in cols] for y in rows]
        np.testing.assert_array_equal(flat_patches(x, side, stride, reach).numpy(), whole)


def test_an_edge_without_luma_is_no_flat_place():
    x = torch.zeros(3, 16, 16)
    x[0, :, :8], x[1, :, 8:] = 1.0, 0.299 / 0.587
    assert not flat_pixels(x)[:, 5:11].any()


def test_slow_ramps_are_flat_and_a_faint_line_is_not():
    ramp = (torch.arange(40.0) / 255).expand(3, 40, 40).clone()
    assert flat_pixels(ramp).all()
    ramp[:, 20] += 2 / 255
    assert not flat_pixels(ramp)[18:23].any()
    assert flat_pixels(ramp)[:16].all()
