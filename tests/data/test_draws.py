"""The plan of draws: shares of both stages, the stage boundary, the seed, ranks and resuming."""

import numpy as np
import pytest

from wbsr_data.draws import DrawPlan
from wbsr_data.sampler import Course, Draw, DrawSampler, HESSampler

CLASSES = np.repeat([1, 2, 3], [60, 30, 10]).astype(np.uint8)
SHARES = np.array([0.2, 0.3, 0.5])


def plan(epoch_draws=50, total_draws=1000, sample_level=0.7, seed=0, classes=CLASSES):
    return DrawPlan(classes, SHARES, epoch_draws, total_draws, sample_level, seed)


def numbers(sampler, *epochs):
    """The draw numbers that a sampler yields in some epochs."""
    taken = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        taken += [draw.t for draw in sampler]
    return taken


def class_counts(candidates, classes=CLASSES):
    return np.bincount(classes[candidates], minlength=4)[1:]


def test_sample_level_draws_every_patch_equally_often():
    epoch = plan(epoch_draws=300, total_draws=3000).epoch(0)
    counts = np.bincount(epoch, minlength=100)
    assert class_counts(epoch).tolist() == [180, 90, 30]
    assert counts.min() >= 2
    assert counts.max() <= 4  # 3 expected


@pytest.mark.parametrize("epoch_draws", [50, 37, 1000])
def test_class_level_shares_equal_their_probabilities_up_to_rounding(epoch_draws):
    drawn = plan(epoch_draws, total_draws=10, sample_level=0.0)
    for epoch in range(5):
        assert (np.abs(class_counts(drawn.epoch(epoch)) - SHARES * epoch_draws) < 1).all()


def test_rounding_is_fair_over_epochs():
    drawn = plan(epoch_draws=7, total_draws=7000, sample_level=0.0)
    counts = class_counts(np.concatenate([drawn.epoch(e) for e in range(1000)]))
    assert counts / 7000 == pytest.approx(SHARES, abs=0.01)


def test_patches_of_a_class_are_drawn_evenly():
    epoch = plan(epoch_draws=1000, total_draws=1, sample_level=0.0).epoch(0)
    expected = SHARES * 1000 / [60, 30, 10]
    assert (np.abs(np.bincount(epoch, minlength=100) - expected[CLASSES - 1]) < 2).all()


def test_the_stage_changes_at_its_draw_inside_an_epoch():
    drawn = plan(epoch_draws=200, total_draws=1000, sample_level=0.5)  # changes at draw 500, in the middle of epoch 2
    epoch = drawn.epoch(2)
    assert class_counts(epoch[:100]).tolist() == [60, 30, 10]
    assert class_counts(epoch[100:]).tolist() == [20, 30, 50]
    assert class_counts(drawn.epoch(1)).tolist() == [120, 60, 20]
    assert class_counts(drawn.epoch(3)).tolist() == [40, 60, 100]


def test_sample_level_one_never_changes_stage():
    drawn = plan(epoch_draws=100, total_draws=200, sample_level=1.0)
    assert class_counts(drawn.epoch(9)).tolist() == [60, 30, 10]


def test_candidates_in_any_order_draw_the_same_shares():
    shuffled = np.random.default_rng(0).permutation(CLASSES)
    epoch = plan(epoch_draws=100, sample_level=0.0, classes=shuffled).epoch(0)
    assert class_counts(epoch, shuffled).tolist() == [20, 30, 50]


def test_draws_repeat_with_the_seed_and_differ_between_epochs_and_seeds():
    first = plan(seed=3).epoch(0)
    assert (first == plan(seed=3).epoch(0)).all()
    assert (first != plan(seed=4).epoch(0)).any()
    assert (first != plan(seed=3).epoch(1)).any()


def test_patch_is_its_place_in_the_epochs_whatever_the_order_of_asking():
    drawn = plan(epoch_draws=16)
    row = np.concatenate([drawn.epoch(e) for e in range(4)])
    for t in (63, 0, 17, 16, 15, 40):
        assert drawn.patch(t) == row[t]
    places = np.random.default_rng(0).permutation(64)[:50]
    assert drawn.patches(places).tolist() == row[places].tolist()
    assert drawn.patches([]).tolist() == []


def test_two_ranks_share_the_draws_of_an_epoch():
    drawn = plan(epoch_draws=40)
    halves = [HESSampler(drawn, rank, 2) for rank in range(2)]
    for half in halves:
        half.set_epoch(3)
    assert len(halves[0]) == 20
    assert np.stack([list(half) for half in halves], 1).ravel().tolist() == drawn.epoch(3).tolist()


def test_draw_sampler_goes_on_where_the_training_restarts():
    whole = DrawSampler(plan(), Course(3, 4, 9))
    assert len(whole) == 12
    assert numbers(whole, 0, 1, 2) == list(range(36))
    resumed = DrawSampler(plan(), Course(3, 4, 9, start_iteration=5))  # in the middle of epoch 1
    assert numbers(resumed, 1) == list(range(20, 32))
    assert numbers(resumed, 2) == list(range(32, 44))


def test_draw_sampler_interleaves_the_ranks():
    ranks = [DrawSampler(plan(), Course(2, 1, 9, 1, rank, 3)) for rank in range(3)]
    assert [numbers(sampler, 0) for sampler in ranks] == [[3, 6], [4, 7], [5, 8]]


def test_draws_come_with_the_candidates_that_the_plan_gives_them():
    drawn = plan()
    assert list(DrawSampler(drawn, Course(20, 4, 9))) == [Draw(t, drawn.patch(t)) for t in range(80)]


def test_wrong_numbers_are_named():
    with pytest.raises(ValueError, match=r"sample_level must be in \[0, 1\], got 2"):
        plan(sample_level=2.0)
    with pytest.raises(ValueError, match="epoch_draws must be at least 1, got 0"):
        plan(epoch_draws=0)
    with pytest.raises(ValueError, match=r"all in 1\.\.3"):
        plan(classes=np.array([0, 1]))
    with pytest.raises(ValueError, match="be 0 for empty classes"):
        plan(classes=np.array([1, 2]))
    with pytest.raises(ValueError, match="multiple of the 3 ranks, got 50"):
        HESSampler(plan(epoch_draws=50), 0, 3)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        DrawSampler(plan(), Course(1, 4, 9, rank=2, world_size=2))
    with pytest.raises(ValueError, match="start_iteration must be at least 0, got -1"):
        Course(1, 4, 9, start_iteration=-1)
    with pytest.raises(ValueError, match="at least one full batch, got 0 batches of 4: lower batch_size_per_gpu"):
        Course(0, 4, 9)
