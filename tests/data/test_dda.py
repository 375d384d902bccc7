"""DDA: what is drawn follows the losses of one section before, whoever reads ahead, on every rank, after a resume."""

import multiprocessing
import pickle
import socket

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from wbsr_data import DDAPairedImageDataset, HESPairedImageDataset
from wbsr_data.dda.class_losses import ClassLosses
from wbsr_data.dda.loss_meter import LossMeter
from wbsr_data.dda.options import least_refresh
from wbsr_data.dda.plan import shares_by_loss

REFRESH, BATCH = 10, 8
PLAN = {"batches_per_epoch": 25, "batch_size": BATCH, "total_iterations": 100, "seed": 1}


def test_shares_follow_the_losses_of_the_classes_within_the_bound():
    def follow(counts, losses, max_repeat=10.0):
        return shares_by_loss(np.array(counts), np.array(losses), max_repeat)

    assert follow([4, 4], [1.0, 3.0]) == pytest.approx([0.25, 0.75])
    assert follow([6, 2], [1.0, 3.0]) == pytest.approx([0.5, 0.5])
    assert follow([5, 0, 5], [0.1, 9.0, 0.4]) == pytest.approx([0.2, 0, 0.8])
    assert follow([99, 1], [0.001, 10.0], max_repeat=2) == pytest.approx([0.98, 0.02])
    assert follow([6, 2], [0.0, 0.0]) == pytest.approx([0.75, 0.25])
    assert shares_by_loss(np.array([6, 2]), None, 10.0) == pytest.approx([0.75, 0.25])


def test_shares_are_a_distribution_within_the_bound_also_with_empty_and_tiny_classes():
    counts = np.array([9000, 0, 990, 4, 0, 6])
    shares = shares_by_loss(counts, np.array([0.01, 0.3, 0.02, 0.5, 0.1, 0.9]), 12.0)
    assert shares.sum() == pytest.approx(1)
    assert (shares[counts == 0] == 0).all()
    assert (shares <= 12 * counts / counts.sum() + 1e-12).all()


def feed(losses, *sections, start=1):
    for number, values in enumerate(sections, start):
        losses.update(number, values)


def test_a_section_follows_what_was_known_one_section_before_it_began():
    losses = ClassLosses(2, REFRESH)
    assert losses.followed(0) is losses.followed(1) is None
    feed(losses, [1.0, 3.0])
    assert losses.followed(2).tolist() == [1, 3]
    feed(losses, [2.0, 1.0], start=2)
    assert losses.followed(2).tolist() == [1, 3]
    assert losses.followed(3).tolist() == [1.5, 2]
    with pytest.raises(ValueError, match=r"iterations 21 to 30 before those from 41 on are drawn: train by"):
        losses.followed(4)


def test_a_class_that_was_not_drawn_keeps_its_loss_and_an_unknown_one_counts_as_the_mean():
    losses = ClassLosses(3, REFRESH)
    feed(losses, [1.0, np.nan, 3.0])
    assert losses.followed(2).tolist() == [1, 2, 3]
    feed(losses, [np.nan, 5.0, 1.0], start=2)
    assert losses.followed(3).tolist() == [1, 5, 2]
    nothing = ClassLosses(3, REFRESH)
    feed(nothing, [np.nan] * 3)
    assert nothing.followed(2) is None


def test_losses_survive_plain_types_and_go_on():
    whole = ClassLosses(2, REFRESH)
    feed(whole, [1.0, 3.0], [np.nan, 1.0])
    resumed = ClassLosses(2, REFRESH, first=2)
    assert resumed.restore(whole.state())
    for section in (2, 3):
        assert resumed.followed(section).tolist() == whole.followed(section).tolist()
    feed(whole, [2.0, 2.0], start=3)
    feed(resumed, [2.0, 2.0], start=3)
    assert resumed.followed(4).tolist() == whole.followed(4).tolist()


def test_a_state_of_other_settings_starts_uniformly():
    state = ClassLosses(2, REFRESH).state()
    for other in (ClassLosses(3, REFRESH, first=5), ClassLosses(2, REFRESH + 1, first=5)):
        assert not other.restore(state)
        assert other.followed(5) is other.followed(6) is None
        with pytest.raises(ValueError, match="none were reported"):
            other.followed(7)


def test_the_meter_takes_the_mean_absolute_error_of_each_class_over_a_section():
    losses = ClassLosses(3, 2)
    meter = LossMeter(losses)
    gt = torch.zeros(4, 3, 2, 2)
    output = torch.tensor([0.1, -0.3, 0.2, float("nan")]).view(4, 1, 1, 1).expand(gt.shape).requires_grad_()
    meter.measure(output, gt, torch.tensor([1, 1, 3, 3]), 1)
    assert losses.followed(2 - 1) is None
    meter.measure(output, gt, torch.tensor([1, 3, 1, 3]), 2)
    assert losses.running[[0, 2]] == pytest.approx([(0.1 + 0.3 + 0.1 + 0.2) / 4, (0.2 + 0.3) / 2])
    assert np.isnan(losses.running[1])
    meter.measure(output, gt, torch.tensor([1, 1, 1, 1]), 3)
    resumed = LossMeter(ClassLosses(3, 2, first=1))
    resumed.restore(meter.state())
    for each in (meter, resumed):
        each.measure(output, gt, torch.tensor([2, 2, 2, 2]), 4)
    assert resumed.losses.running.tolist() == meter.losses.running.tolist()


def measure_on_rank(rank, port, results):
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    meter = LossMeter(ClassLosses(2, 2))
    for iteration in (1, 2):
        output = torch.full((2, 1, 4, 4), 0.1 * (1 + rank) * iteration)
        meter.measure(output, torch.zeros_like(output), torch.tensor([1, 2 - rank]), iteration)
    results.put((rank, meter.losses.followed(2).tolist(), meter.state()["totals"]))
    torch.distributed.barrier()


def test_two_ranks_agree_on_the_losses_of_all_patches():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    ranks = [context.Process(target=measure_on_rank, args=(rank, port, results)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    first, second = (results.get(timeout=120) for _ in ranks)
    for rank in ranks:
        rank.join(60)
    assert first[1:] == second[1:]
    # rank 0 has class 1 and 2 at 0.1, then 0.2; rank 1 class 1 twice at 0.2, then 0.4
    assert first[1] == pytest.approx([(0.1 + 0.2 + 2 * 0.2 + 2 * 0.4) / 6, (0.1 + 0.2) / 2])


def dda(pairs, options, **hes):
    return DDAPairedImageDataset(options(pairs, {"refresh": REFRESH, **hes}))


def train(dataset, until, workers=0, start=0, state=None, **plan):
    """The classes and pixels of each iteration; made-up losses are reported as a model would, after each section."""
    sampler = dataset.training_sampler(**{**PLAN, "start_iteration": start, **plan})
    if state is not None:
        dataset.resume_training(pickle.loads(pickle.dumps(state)))
    running = dataset.meter.losses
    loader = DataLoader(dataset, BATCH, sampler=sampler, num_workers=workers, drop_last=True)
    iteration, seen = start, []
    for epoch in range(start // 25, 4):
        sampler.set_epoch(epoch)
        for batch in loader:
            iteration += 1
            seen.append((batch["difficulty"].tolist(), batch["lq"].sum((1, 2, 3)).tolist()))
            if iteration % REFRESH == 0:
                section = iteration // REFRESH
                running.update(section, [0.1, 0.1, 0.2, 0.6] if section < 4 else [0.6, 0.2, 0.1, 0.1])
            if iteration == until:
                return seen, dataset.training_extras()
    return seen, dataset.training_extras()


def class_shares(seen):
    return np.bincount(np.concatenate([classes for classes, _ in seen]), minlength=5)[1:] / (BATCH * len(seen))


def test_class_shares_follow_made_up_losses(pairs, options):
    dataset = dda(pairs, options)
    uniform = dataset.index.counts / dataset.index.counts.sum()
    seen, _ = train(dataset, 90)
    sections = [class_shares(seen[at : at + REFRESH]) for at in range(0, 90, REFRESH)]
    rounding = 1.01 / (BATCH * REFRESH)
    for section in sections[:2]:
        assert section == pytest.approx(uniform, abs=rounding)
    weights = uniform * [0.1, 0.1, 0.2, 0.6]
    for section in sections[2:5]:
        assert section == pytest.approx(weights / weights.sum(), abs=rounding)
    turned = uniform * [0.35, 0.15, 0.15, 0.35]  # half of what was, half of what is
    assert sections[5] == pytest.approx(turned / turned.sum(), abs=rounding)
    assert sections[8][0] > 0.5 > sections[8][3]


def test_workers_change_no_draw(pairs, options):
    assert train(dda(pairs, options), 60, workers=2) == train(dda(pairs, options), 60)


@pytest.mark.parametrize("stop", [34, 40])
def test_a_resumed_training_draws_what_it_would_have_drawn(pairs, options, stop):
    whole, _ = train(dda(pairs, options), 70)
    before, state = train(dda(pairs, options), stop)
    assert whole[:stop] == before
    after, _ = train(dda(pairs, options), 70, start=stop, state=state)
    assert whole[stop:] == after


def test_two_ranks_share_the_draws_of_one(pairs, options):
    one = dda(pairs, options)
    halves = [dda(pairs, options) for _ in range(2)]
    samplers = [
        each.training_sampler(**{**PLAN, "batch_size": BATCH // 2}, rank=rank, world_size=2)
        for rank, each in enumerate(halves)
    ]
    whole = one.training_sampler(**PLAN)
    for each in (one, *halves):
        feed(each.meter.losses, [0.1, 0.1, 0.2, 0.6])
    for sampler in (whole, *samplers):
        sampler.set_epoch(0)
    assert list(whole) == [draw for both in zip(*samplers, strict=True) for draw in both]


def test_the_first_stage_is_uniform_where_the_block_says_so(pairs, options):
    seen, _ = train(dda(pairs, options, sample_level=0.5), 90)
    uniform = train(dda(pairs, options, sample_level=1.0), 90)[0]
    assert seen[:50] == uniform[:50]
    assert class_shares(seen[60:90])[0] > class_shares(uniform[60:90])[0] + 0.1


def test_the_losses_must_come_and_come_in_time(pairs, options):
    dataset = dda(pairs, options)
    sampler = dataset.training_sampler(**PLAN)
    sampler.set_epoch(0)
    with pytest.raises(ValueError, match=r"DDA follows the losses of the model, but none were reported for"):
        list(sampler)
    assert least_refresh(workers=6, queue=1) == 16
    with pytest.raises(ValueError, match=r"train:hes:refresh must be at least 12, since .* got 10: raise it"):
        DDAPairedImageDataset.check_options(options(pairs, {"refresh": 10}, num_worker_per_gpu=4))
    with pytest.raises(ValueError, match="refresh must be at least 1, got 0"):
        dda(pairs, options, refresh=0)


def test_the_epoch_that_basicsr_begins_after_the_end_is_no_error(pairs, options):
    dataset = DDAPairedImageDataset(options(pairs, {"refresh": REFRESH}))
    sampler = dataset.training_sampler(**{**PLAN, "total_iterations": 30})
    for epoch in (0, 40):  # draws long after the 30 iterations, of which no losses will ever come
        sampler.set_epoch(epoch)
        next(iter(sampler))


def test_options_of_hes_that_it_does_not_have_are_unknown(pairs, options):
    for key in ("sampling", "delta", "hardest"):
        with pytest.raises(ValueError, match=f"datasets:train:hes: unknown key '{key}'"):
            dda(pairs, options, **{key: 0.5})
    with pytest.raises(ValueError, match="datasets:train:hes: unknown key 'refresh'"):
        HESPairedImageDataset(options(pairs, {"refresh": 10}))


def test_what_it_observes_is_what_it_follows_and_resumes_from(pairs, options):
    first, second = dda(pairs, options, refresh=4), dda(pairs, options, refresh=4)
    for each in (first, second):
        each.training_sampler(**PLAN)
    gt = torch.zeros(4, 3, 8, 8)
    for iteration in range(1, 7):
        first.observe(gt + 0.1 * iteration, gt, {"difficulty": torch.tensor([1, 2, 3, 4])}, iteration)
    assert first.meter.losses.running == pytest.approx([0.25] * 4)
    second.resume_training({"iter": 6, **first.training_extras()})
    for each in (first, second):
        for iteration in (7, 8):
            each.observe(gt + 0.1 * iteration, gt, {"difficulty": torch.tensor([1, 1, 2, 2])}, iteration)
    assert first.training_extras() == second.training_extras()
    drawn_on = (0.5 + 0.6 + 2 * 0.7 + 2 * 0.8) / 6
    expected = [(0.25 + drawn_on) / 2] * 2 + [(0.25 + 0.55) / 2] * 2
    assert first.meter.losses.running == pytest.approx(expected, abs=1e-6)
    second.resume_training({"iter": 8})  # of a training that had no losses
    assert second.training_extras() == first.training_extras()


def test_it_travels_to_a_spawned_worker(pairs, options):
    dataset = dda(pairs, options)
    dataset.training_sampler(**PLAN)
    feed(dataset.meter.losses, [0.1, 0.1, 0.2, 0.6])
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[170]["lq"], dataset[170]["lq"])  # in section 2
    assert copy.training_extras() == dataset.training_extras()
