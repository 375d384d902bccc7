"""Gradients far above the usual ones are clipped and those that are no numbers move nothing, on the device alone."""

import copy
import math

import pytest
import torch

from wbsr import compat

compat.install()

from wbsr_models.training.compute import Compute, ComputeOptions  # noqa: E402
from wbsr_models.training.guard import STEPS, GradientGuard  # noqa: E402

KINDS = {
    "fused": lambda weights: torch.optim.Adam(weights, 0.1, fused=True),
    "Adam": lambda weights: torch.optim.Adam(weights, 0.1),
    "SGD": lambda weights: torch.optim.SGD(weights, 0.1),
}


def make(kind="Adam", ratio=4.0):
    weights = [
        torch.nn.Parameter(torch.ones(3)),
        torch.nn.Parameter(torch.ones(2, 2)),
        torch.nn.Parameter(torch.ones(1)),
    ]
    return weights, KINDS[kind](weights), GradientGuard(ratio, torch.device("cpu"))


def give(weights, norm, bad=None):
    """Gradients of a norm; the last weight has none. `bad` takes the place of one number."""
    for weight in weights[:2]:
        weight.grad = torch.full_like(weight, norm / math.sqrt(7))
    if bad is not None:
        weights[0].grad[1] = bad


def step(weights, optimizer, guard, norm, bad=None):
    give(weights, norm, bad)
    guard(optimizer)
    optimizer.step()


def news(guard):
    return guard.news({name: count.item() for name, count in guard.counts.items()})


def settle(*parts):
    for number in range(STEPS):
        step(*parts, norm=1 + 0.1 * (number % 3))


@pytest.mark.parametrize("kind", KINDS)
def test_usual_steps_are_as_without_a_guard(kind):
    weights, optimizer, guard = make(kind)
    others = copy.deepcopy(weights)
    bare = KINDS[kind](others)
    for norm in [*(1 + 0.1 * (number % 3) for number in range(STEPS)), 3.9, 0.01, 4.1]:
        step(weights, optimizer, guard, norm)
        for weight, other in zip(weights, others, strict=True):
            other.grad = None if weight.grad is None else torch.full_like(other, norm / math.sqrt(7))
        bare.step()
    assert all(torch.equal(weight, other) for weight, other in zip(weights, others, strict=True))
    assert news(guard) is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_unusual_gradient_is_clipped_to_the_ratio_of_the_median(kind):
    weights, optimizer, guard = make(kind)
    settle(weights, optimizer, guard)
    twin, twins_optimizer = copy.deepcopy((weights, optimizer))
    twins_optimizer.param_groups[0]["params"] = twin
    twins_optimizer.state.update(
        {
            new: copy.deepcopy(optimizer.state[old])
            for new, old in zip(twin, weights, strict=True)
            if old in optimizer.state
        }
    )
    step(weights, optimizer, guard, norm=500.0)
    for weight in twin[:2]:
        weight.grad = torch.full_like(weight, 4 * 1.1 / math.sqrt(7))
    twins_optimizer.step()
    for weight, other in zip(weights, twin, strict=True):
        assert torch.allclose(weight, other, atol=1e-6)
    assert news(guard).startswith("Since the last line 1 steps had gradients of more than 4 times their usual norm")
    assert news(guard) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_moves_nothing_and_is_counted(kind, bad):
    weights, optimizer, guard = make(kind)
    settle(weights, optimizer, guard)
    before = copy.deepcopy(weights)
    optimizer.param_groups[0]["betas"] = (0.0, 0.0)  # a step by gradients of zero then is none
    step(weights, optimizer, guard, norm=1.0, bad=bad)
    assert all(torch.equal(weight, other) for weight, other in zip(weights, before, strict=True))
    assert "0 steps had gradients of more than" in (told := news(guard))
    assert "1 had gradients that are no finite numbers" in told
    step(weights, optimizer, guard, norm=1.0)
    assert not torch.equal(weights[0], before[0])
    assert all(weight.isfinite().all() for weight in weights)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unusual_gradient_is_clipped_to_a_norm_once(kind):
    """`clip_norm` after the guard: the fused optimiser must not divide by the excess what is clipped already."""
    weights, optimizer, _ = make(kind)
    optimizer.param_groups[0].update(betas=(0.0, 0.0), eps=1.0)  # so that a step tells the size of its gradient
    compute, moved = Compute(ComputeOptions(clip_norm=1.0), torch.device("cpu")), []
    for norm, bad in [*[(0.5, None)] * STEPS, (500.0, None), (0.5, math.nan), (1.0, None)]:
        before = weights[0].detach().clone()
        give(weights, norm, bad)
        compute.step(optimizer)
        moved.append(before - weights[0].detach())
    unusual, left_out, usual = moved[-3:]
    assert torch.allclose(unusual, usual, rtol=1e-4)
    assert torch.equal(left_out, torch.zeros(3))
    assert [count.item() for count in compute.guard.counts.values()] == [1, 1]


def test_a_first_step_that_is_no_number_is_left_out_too():
    weights, optimizer, guard = make()
    step(weights, optimizer, guard, norm=1.0, bad=math.nan)
    assert all(torch.equal(weight, torch.ones_like(weight)) for weight in weights)


def test_steps_without_any_gradient_are_usual():
    weights, optimizer, guard = make()
    for _ in range(STEPS):
        step(weights, optimizer, guard, norm=0.0)
    assert all(torch.equal(weight, torch.ones_like(weight)) for weight in weights)
    assert news(guard) is None


def test_a_rise_that_lasts_becomes_usual():
    weights, optimizer, guard = make()
    settle(weights, optimizer, guard)
    for _ in range(STEPS):
        step(weights, optimizer, guard, norm=40.0)
    news(guard)
    step(weights, optimizer, guard, norm=15.0)
    assert news(guard) is None


def test_a_guard_goes_on_where_it_was():
    weights, optimizer, guard = make()
    for norm in [*[1.0] * 60, 9.0]:
        step(weights, optimizer, guard, norm)
    other = GradientGuard(4.0, torch.device("cpu"))
    other.resume(guard.state())
    assert other.state() == guard.state()
    assert news(other) is None
    other.resume({})
    assert other.state() == guard.state()
