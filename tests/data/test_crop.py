"""A crop: what it cuts and how it turns it, the same one by one and as arrays, from index, seed and number alone."""

import numpy as np
import pytest

from wbsr_data import Crop, DrawPlan, IndexSettings, PatchIndex
from wbsr_data.crop import CropPlan


@pytest.fixture(scope="module")
def index():
    """The candidates of three images of noise."""
    images = [np.random.default_rng(n).integers(0, 5 + 50 * n, (20 + n, 25, 3), dtype=np.uint8) for n in range(3)]
    return PatchIndex.build(lambda number: images[number], ["a", "b", "c"], IndexSettings(8, 3, 4), progress=False)


def crop_plan(index, seed=5, hflip=True, rot=True):
    shares = index.counts / index.counts.sum()
    return CropPlan(index, DrawPlan(index.difficulty, shares, 32, 200, 0.5, seed), seed, hflip, rot)


def test_the_flips_come_one_after_the_other():
    lr = np.arange(6 * 7 * 3, dtype=np.uint8).reshape(6, 7, 3)
    patch = lr[1:5, 2:6]
    expected = {
        (False, False, False): patch,
        (True, False, False): patch[:, ::-1],
        (False, True, False): patch[::-1],
        (False, False, True): patch.transpose(1, 0, 2),
        (True, False, True): patch[:, ::-1].transpose(1, 0, 2),
        (False, True, True): patch[::-1].transpose(1, 0, 2),
    }
    for flips, found in expected.items():
        np.testing.assert_array_equal(Crop(0, 1, 2, *flips).cut(lr, 4), found)


@pytest.mark.parametrize("number", range(8))
def test_an_image_that_is_larger_is_cut_at_the_same_place_and_turned_alike(number):
    lr = np.random.default_rng(0).integers(0, 255, (9, 11, 3), dtype=np.uint8)
    crop = Crop(0, 2, 5, *(bool(number >> bit & 1) for bit in range(3)))
    hr = lr.repeat(3, 0).repeat(3, 1)
    np.testing.assert_array_equal(crop.cut(hr, 4, 3)[1::3, 1::3], crop.cut(lr, 4))
    assert crop.cut(hr, 4, 3).shape == (12, 12, 3)


def test_many_at_once_are_those_that_come_one_by_one(index):
    plan = crop_plan(index)
    ts = np.random.default_rng(0).integers(0, 300, 70)  # over many epochs, some draws twice
    crops = plan.crops(ts)
    assert len(crops) == 70
    assert [crops[place] for place in range(70)] == [crop_plan(index).crop(int(t)) for t in ts]
    known = plan.plan.patches(ts)
    assert plan.crops(ts, known)[3] == plan.crop(int(ts[3]), int(known[3])) == crops[3]
    assert len(plan.crops([])) == 0
    scaled = 4 * crops.x  # gathering needs room for HR pixels
    assert scaled.dtype == np.int64


def test_a_crop_is_one_of_the_candidates_and_repeats_with_the_seed(index):
    places = set(zip(index.image.tolist(), index.y.tolist(), index.x.tolist(), strict=True))
    crops = [crop_plan(index).crop(t) for t in range(100)]
    assert {(crop.image, crop.y, crop.x) for crop in crops} <= places
    assert crops == [crop_plan(index).crop(t) for t in range(100)]
    assert crops != [crop_plan(index, seed=6).crop(t) for t in range(100)]


def test_all_flips_occur_half_of_the_time_unless_they_are_off(index):
    def often(**flips):
        crops = crop_plan(index, **flips).crops(range(1000))
        return [flags.mean() for flags in (crops.hflip, crops.vflip, crops.transpose)]

    assert often() == pytest.approx([0.5] * 3, abs=0.05)
    assert often(hflip=False)[0] == 0
    assert often(rot=False)[1:] == [0, 0]
    assert often(rot=False)[0] == often()[0]
