"""The samplings: P_k by hand, their published options, and what a training over them draws."""

import numpy as np
import pytest

from wbsr_data import HESPairedImageDataset
from wbsr_data.hes.options import HESOptions, parse_hes
from wbsr_data.samplings import SAMPLINGS


def shares(name, counts, **options):
    return SAMPLINGS[name].shares(np.array(counts), HESOptions(**options))


def test_hes_is_eq_8_with_its_bound():
    assert shares("hes", [4, 2, 1], delta=0.5) == pytest.approx(np.array([0.5, 2, 8]) / 10.5)
    assert shares("hes", [999, 1], max_repeat=10) == pytest.approx([0.99, 0.01])


def test_samplingaug_is_uniform_over_the_hardest():
    assert shares("samplingaug", [10] * 10, hardest=0.1).tolist() == [0] * 9 + [1]
    assert shares("samplingaug", [10] * 10, hardest=0.25) == pytest.approx([0] * 7 + [0.2, 0.4, 0.4])
    assert shares("samplingaug", [3, 0, 7], hardest=1.0) == pytest.approx([0.3, 0, 0.7])


def test_bspa_is_half_uniform_and_half_inverse_frequency():
    assert shares("bspa", [6, 3, 1], max_repeat=100) == pytest.approx(
        (np.array([0.6, 0.3, 0.1]) + np.array([1 / 6, 1 / 3, 1]) / 1.5) / 2
    )


@pytest.mark.parametrize("name", SAMPLINGS)
def test_shares_are_a_distribution_within_the_bound_also_with_empty_and_tiny_classes(name):
    counts = np.array([9000, 0, 990, 4, 0, 6])
    p = shares(name, counts, max_repeat=12.0, hardest=0.1)
    assert p.sum() == pytest.approx(1)
    assert (p[counts == 0] == 0).all()
    assert (p <= 12 * counts / counts.sum() + 1e-12).all()


def test_published_options_are_defaults_that_the_block_overrules():
    assert parse_hes(None, "hes") == parse_hes({}, "hes") == HESOptions()
    aug = parse_hes({"sampling": "samplingaug", "sample_level": 0.5}, "hes")
    assert (aug.score, aug.sample_level, aug.hardest) == ("bilinear", 0.5, 0.1)
    bspa = parse_hes({"sampling": "bspa"}, "hes")
    assert (bspa.score, bspa.thresholds, bspa.sample_level) == ("std", "linear", 0.0)
    with pytest.raises(ValueError, match="sampling must be one of hes, samplingaug, bspa, uniform, got 'add'"):
        parse_hes({"sampling": "add"}, "hes")
    with pytest.raises(ValueError, match=r"hardest must be in \(0, 1\], got 2"):
        parse_hes({"hardest": 2}, "hes")


def test_dda_is_another_data_set_which_is_said_before_anything_is_read(pairs, options):
    opt = options(pairs, {"sampling": "dda", "refresh": 10})
    with pytest.raises(ValueError, match=r"train:hes:sampling: `dda` is .* set type: DDAPairedImageDataset and leave"):
        HESPairedImageDataset.check_options(opt)


def draw(dataset, count):
    """How often each candidate is drawn in the first `count` draws."""
    sampler = dataset.training_sampler(batches_per_epoch=count // 4, batch_size=4, total_iterations=count // 4)
    return np.bincount([draw.candidate for draw in sampler], minlength=len(dataset.index))


@pytest.mark.parametrize("name", SAMPLINGS)
def test_an_epoch_has_the_shares_of_its_sampling(pairs, options, name):
    dataset = HESPairedImageDataset(options(pairs, {"sampling": name, "sample_level": 0.0}))
    drawn = draw(dataset, 400)
    classes = np.bincount(dataset.index.difficulty, drawn, minlength=5)[1:]
    assert (np.abs(classes - 400 * dataset.hes.shares(dataset.index.counts)) < 1).all()
    assert dataset[0]["lq"].shape == (3, 16, 16)


def test_samplingaug_draws_the_patches_with_the_largest_error(pairs, options):
    dataset = HESPairedImageDataset(options(pairs, {"sampling": "samplingaug", "num_classes": 10}))
    drawn = draw(dataset, 400) > 0
    assert 0.08 < drawn.mean() < 0.12
    assert dataset.index.score[drawn].min() >= np.quantile(dataset.index.score, 0.89)


def test_a_tiny_class_is_bounded_in_what_is_really_drawn(pairs, options):
    hes = {"thresholds": "linear", "delta": 0.1, "max_repeat": 3.0, "sample_level": 0.0}
    dataset = HESPairedImageDataset(options(pairs, hes))
    count = 40 * len(dataset.index) // 4 * 4
    assert draw(dataset, count).max() <= 3 * count / len(dataset.index) + 2  # the bound, and rounding


def test_the_thresholds_for_routing_stay_those_of_the_gradient(pairs, options):
    plain = HESPairedImageDataset(options(pairs))
    for other in ({"score": "mean"}, {"score": "std"}, {"sampling": "samplingaug"}):
        dataset = HESPairedImageDataset(options(pairs, other))
        assert dataset[0]["thresholds"].tolist() == plain.index.thresholds.tolist()
        assert dataset.index.thresholds.tolist() != plain.index.thresholds.tolist()
