"""Thresholds (Eq. 7) and class probabilities (Eq. 8) by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wbsr_data.difficulty import class_probabilities, classify, thresholds


def test_quantile_thresholds_split_in_equal_shares():
    scores = np.random.default_rng(0).permutation(20).astype(np.float32)
    bounds = thresholds(scores, 4)
    assert bounds.tolist() == [5.0, 10.0, 15.0]  # s[⌊k·20/4⌋]
    assert np.bincount(classify(scores, bounds)).tolist() == [0, 5, 5, 5, 5]


def test_linear_thresholds_split_the_range_in_equal_widths():
    bounds = thresholds([0.0, 0.1, 0.2, 1.0], 4, "linear")
    assert bounds == pytest.approx([0.25, 0.5, 0.75])
    assert classify([0.0, 0.1, 0.2, 1.0], bounds).tolist() == [1, 1, 1, 4]


def test_a_threshold_belongs_to_the_class_above_in_numpy_and_torch():
    scores, bounds = [0.5, 1.0, 1.5, 2.0, 9.0], [1.0, 2.0]
    assert classify(scores, bounds).tolist() == [1, 2, 2, 3, 3]
    assert classify(torch.tensor(scores), torch.tensor(bounds)).tolist() == [1, 2, 2, 3, 3]


@pytest.mark.parametrize("mode", ["quantile", "linear"])
def test_equal_scores_all_fall_in_the_hardest_class(mode):
    scores = np.full(7, 0.25, np.float32)
    assert classify(scores, thresholds(scores, 3, mode)).tolist() == [3] * 7


def test_threshold_errors_name_the_remedy():
    with pytest.raises(ValueError, match="5 classes for 3 patches: lower num_classes or the stride"):
        thresholds([1.0, 2.0, 3.0], 5)
    with pytest.raises(ValueError, match="finite, got 1 that are not"):
        thresholds([1.0, float("nan")], 2)
    with pytest.raises(ValueError, match="quantile, linear, got 'even'"):
        thresholds([1.0, 2.0], 2, "even")


def test_probabilities_by_hand():
    # 1/(N_k δ^k) = 1/(4·0.5), 1/(2·0.25), 1/(1·0.125) = 0.5, 2, 8
    assert class_probabilities([4, 2, 1], 0.5) == pytest.approx(np.array([0.5, 2, 8]) / 10.5)
    assert class_probabilities([5, 5], 1.0) == pytest.approx([0.5, 0.5])


def test_an_empty_class_gets_nothing():
    assert class_probabilities([4, 0, 4], 0.5) == pytest.approx([1 / 5, 0, 4 / 5])
    assert class_probabilities([3] + [0] * 254, 0.01).tolist() == [1.0] + [0.0] * 254


def test_a_tiny_class_cannot_take_over():
    counts = np.array([9990, 6, 4])
    assert class_probabilities(counts, 0.9)[1:].sum() > 0.99  # unbounded, ten patches fill the training
    bounded = class_probabilities(counts, 0.9, max_repeat=10)
    assert bounded == pytest.approx([0.99, 0.006, 0.004])


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any),
    delta=st.floats(0.01, 1.0),
    max_repeat=st.floats(1.0, 50.0),
)
def test_no_patch_is_drawn_more_often_than_the_bound(counts, delta, max_repeat):
    patches = np.array(counts, dtype=float)
    shares = class_probabilities(counts, delta, max_repeat)
    assert shares.sum() == pytest.approx(1)
    assert (shares <= max_repeat * patches / patches.sum() * (1 + 1e-9)).all()


def test_excess_keeps_the_proportions_of_the_classes_below_the_bound():
    counts = [500, 499, 1]
    free, bounded = class_probabilities(counts, 0.5), class_probabilities(counts, 0.5, 20)
    assert bounded[2] == pytest.approx(20 / 1000)
    assert bounded[1] / bounded[0] == pytest.approx(free[1] / free[0])


@pytest.mark.parametrize(("counts", "delta", "bound"), [([10] * 255, 0.01, 1.2), ([10] * 10, 1e-100, 2.0)])
def test_the_bound_leaves_a_distribution_where_delta_is_extreme(counts, delta, bound):
    shares = class_probabilities(counts, delta, bound)
    assert shares.sum() == pytest.approx(1)
    assert (shares <= bound / len(counts) * (1 + 1e-9)).all()


def test_probability_errors():
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\], got 0"):
        class_probabilities([1, 2], 0.0)
    with pytest.raises(ValueError, match="max_repeat must be at least 1"):
        class_probabilities([1, 2], 0.9, 0.5)
    with pytest.raises(ValueError, match="not all 0"):
        class_probabilities([0, 0])
