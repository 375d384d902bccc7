"""Which subnets a step trains: the same on every rank, and as often as asked."""

from collections import Counter
from typing import get_args, get_type_hints

import numpy as np
import pytest

from wbsr_arch import Subnet
from wbsr_base.options import parse
from wbsr_models.training.strategy import StrategyOptions, draw_subnets

KNOWN = get_args(get_type_hints(StrategyOptions)["strategy"])

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


def test_an_extreme_power_leaves_all_subnets_in_reach():
    drawn = draw_subnets(StrategyOptions("sandwich", 3, power=3000.0), COSTS, 0, 1)
    assert drawn == SUBNETS


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


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"random_subnets": -1}, "train:supernet: random_subnets must be at least 0, got -1"),
        ({"strategy": "random", "random_subnets": 2}, "strategy `sandwich`, got 2 with `random`: set strategy:"),
        ({"strategy": "sandwhich"}, f"train:supernet:strategy must be one of {', '.join(KNOWN)}, got 'sandwhich'"),
        ({"power": float("inf")}, "power must be a finite number"),
        ({"full_first": 1.0}, r"full_first must be in \[0, 1\), got 1.0"),
        ({"distillation": -0.5}, "distillation must be at least 0, got -0.5"),
        ({"strategy": "random", "distillation": 1.0}, "use `sandwich` or `all`, or leave distillation out"),
        ({"strategy": "sandwich", "subnet_weight": 0}, "subnet_weight must be above 0, got 0.0"),
        ({"subnet_weight": 0.5}, "subnet_weight needs the full network in every step, .* or leave subnet_weight out"),
        ({"match": True}, "train:supernet: unknown key 'match'"),
        ({"full_frist": 0.1}, "unknown key 'full_frist': did you mean 'full_first'"),
    ],
)
def test_a_wrong_option_says_what_to_change(block, message):
    with pytest.raises(ValueError, match=message):
        parse(StrategyOptions, block, "train:supernet")
