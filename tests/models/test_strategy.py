"""Which subnets a step trains: the same on every rank, as often as asked, and on the patches that each will serve."""

from collections import Counter

import numpy as np
import pytest
import torch

from wbsr_arch import Subnet
from wbsr_base.options import parse
from wbsr_models.routing import route_by_class
from wbsr_models.strategy import StrategyOptions, draw_subnets, match_weights, weigh_gradients

COSTS = {Subnet(width, depth): width * width * depth for width, depth in ((4, 1), (4, 2), (8, 1), (8, 2), (8, 4))}
SUBNETS = list(COSTS)


def draws(options, steps=4000, seed=0):
    return [draw_subnets(options, COSTS, seed, step) for step in range(steps)]


def test_all_trains_every_subnet_once():
    assert draw_subnets(StrategyOptions("all"), COSTS, 0, 7) == SUBNETS


@pytest.mark.parametrize("number", [0, 1, 2, 3, 9])
def test_sandwich_trains_both_ends_and_others_drawn_once_the_full_network_last(number):
    for drawn in draws(StrategyOptions("sandwich", number), 200):
        assert drawn[0] == SUBNETS[0]
        assert drawn[-1] == SUBNETS[-1]
        assert len(drawn) == len(set(drawn)) == 2 + min(number, 3)


def test_a_supernet_of_one_subnet_trains_it_once():
    only = {Subnet(4, 1): 1}
    for strategy in ("random", "sandwich", "all"):
        assert draw_subnets(StrategyOptions(strategy), only, 0, 0) == [Subnet(4, 1)]


@pytest.mark.parametrize("power", [0.0, 1.0, -0.5])
def test_random_draws_by_cost_to_the_power(power):
    counts = Counter(drawn for (drawn,) in draws(StrategyOptions("random", power=power)))
    chances = np.array([float(cost) ** power for cost in COSTS.values()])
    found = np.array([counts[subnet] for subnet in SUBNETS]) / 4000
    assert np.abs(found - chances / chances.sum()).max() < 0.03


def test_the_draws_depend_on_seed_and_iteration_alone():
    options = StrategyOptions("random")
    assert draws(options, 50) == draws(options, 50)
    assert draws(options, 50) != draws(options, 50, seed=1)
    assert draws(options, 50)[20:] == [draw_subnets(options, COSTS, 0, step) for step in range(20, 50)]


@pytest.mark.parametrize("strategy", ["random", "sandwich", "all"])
def test_the_full_network_may_train_alone_at_first(strategy):
    options = StrategyOptions(strategy, full_first=0.25)
    for done in (0.0, 0.249):
        assert draw_subnets(options, COSTS, 0, 3, done) == SUBNETS[-1:]
    for done in (0.25, 0.9):
        assert draw_subnets(options, COSTS, 0, 3, done) == draw_subnets(StrategyOptions(strategy), COSTS, 0, 3)


def test_a_patch_counts_fully_for_the_subnet_that_serves_it_and_larger_ones():
    difficulty = torch.arange(1, 11)
    serving = route_by_class(difficulty.numpy(), 10, 9)
    for subnet in range(9):
        weights = match_weights(difficulty, subnet, num_classes=10, num_subnets=9, mismatch=0.25)
        assert weights.tolist() == [1.0 if m <= subnet else 0.25 for m in serving]
    assert match_weights(difficulty, 8, 10, 9, 0.0).eq(1).all()


def test_weighing_scales_each_patchs_gradient_and_leaves_the_output_as_it_is():
    output = torch.rand(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    target = torch.rand(3, 2, 4, 4, dtype=torch.float64)
    weights = torch.tensor([1.0, 0.25, 0.0])
    weighed = weigh_gradients(output, weights)
    assert torch.equal(weighed, output)
    (found,) = torch.autograd.grad((weighed - target).square().mean(), output)
    (plain,) = torch.autograd.grad((output - target).square().mean(), output)
    assert torch.allclose(found, plain * weights.double().view(3, 1, 1, 1))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"random_subnets": -1}, "train:supernet: random_subnets must be at least 0, got -1"),
        ({"strategy": "random", "random_subnets": 2}, "strategy `sandwich`, got 2 with `random`: set strategy:"),
        ({"strategy": "sandwhich"}, "train:supernet:strategy must be one of random, sandwich, all, got 'sandwhich'"),
        ({"power": float("inf")}, "power must be a finite number"),
        ({"full_first": 1.0}, r"full_first must be in \[0, 1\), got 1.0"),
        ({"distillation": -0.5}, "distillation must be at least 0, got -0.5"),
        ({"strategy": "random", "distillation": 1.0}, "use `sandwich` or `all`, or leave distillation out"),
        ({"mismatch": 1.0}, r"mismatch must be in \[0, 1\), got 1.0: at 1, leave out `match`"),
        ({"mach": True}, "unknown key 'mach': did you mean 'match'"),
    ],
)
def test_a_wrong_option_says_what_to_change(block, message):
    with pytest.raises(ValueError, match=message):
        parse(StrategyOptions, block, "train:supernet")
