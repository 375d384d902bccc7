"""Flat is where no channel moves by more than a level of 8 bits, as a search pixel by pixel finds it."""

import numpy as np
import pytest
import torch

from wbsr_data.flatness import flat_pixels, patches_within
from wbsr_data.gradient import patch_positions


def by_search(levels, reach):
    """(H, W): flat pixels of (C, H, W) whole levels."""
    _, height, width = levels.shape
    flat = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            near = levels[:, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
            flat[y, x] = all((np.abs(np.diff(near, axis=axis)) <= 1).all() for axis in (1, 2))
    return flat


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (23, 31)])
@pytest.mark.parametrize("reach", [1, 2, 4])
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
        np.testing.assert_array_equal(patches_within(flat_pixels(x, reach), side, stride).numpy(), whole)


def test_an_edge_without_luma_is_no_flat_place():
    x = torch.zeros(3, 16, 16)
    x[0, :, :8], x[1, :, 8:] = 1.0, 0.299 / 0.587
    assert not flat_pixels(x)[:, 6:10].any()
    assert flat_pixels(x)[:, :6].all()
    with pytest.raises(ValueError, match="reach must be at least 1, got 0"):
        flat_pixels(x, 0)


def test_slow_ramps_are_flat_and_a_faint_line_is_not():
    ramp = (torch.arange(40.0) / 255).expand(3, 40, 40).clone()
    assert flat_pixels(ramp).all()
    ramp[..., 20:] += 2 / 255
    assert not flat_pixels(ramp)[:, 19:22].any()
    assert flat_pixels(ramp)[:, :18].all()
