"""Routing by the paper's equations and by shares of a budget, and what a request for it may say."""

from dataclasses import replace

import numpy as np
import pytest

from wbsr_arch import Subnet
from wbsr_models.policy import Knowledge, Routing, make_policy
from wbsr_models.routing import route_by_allocation, route_by_class, route_by_cost

SUBNETS = [Subnet(4, 1), Subnet(4, 2), Subnet(8, 2)]
COSTS = [0.2, 0.5, 1.0]
KNOWN = Knowledge((0.1, 0.2, 0.3), ((4.0, 3.9, 3.8), (8.0, 4.0, 3.9), (8.0, 7.0, 2.0), (9.0, 8.0, 1.0)))


def test_equation_15_by_hand():
    classes = np.arange(1, 11)
    assert (route_by_class(classes, 10, 9) + 1).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert (route_by_class(classes, 10, 3) + 1).tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 3]


def test_equation_16_by_hand():
    classes = np.array([[1, 2], [3, 4]])  # want 0.25, 0.5, 0.75 and 1 of the budget
    assert route_by_cost(classes, 4, COSTS, 1.0).tolist() == [[0, 1], [1, 2]]
    assert route_by_cost(classes, 4, COSTS, 0.5).tolist() == [[0, 0], [1, 1]]
    assert route_by_cost(classes, 4, COSTS, 1.0, alpha=2.0).tolist() == [[1, 2], [2, 2]]


def test_equation_16_counts_cost_whatever_the_order_of_the_subnets():
    found = route_by_cost(np.array([1, 2, 3, 4]), 4, [1.0, 0.2, 0.5], 1.0)
    assert found.tolist() == [1, 2, 2, 0]


def test_equation_16_as_printed_gives_the_easiest_class_the_largest_subnet():
    printed = [int(np.argmin([abs(k * cost / 4 - 0.25) for cost in COSTS])) for k in (1, 4)]
    assert printed == [2, 0]  # which is why routing.py reads it otherwise


def test_a_split_class_gives_its_harder_patches_the_dearer_subnet():
    scores = np.array([[0.05, 0.15, 0.19], [0.01, 0.11, 0.12]], np.float32)
    classes = np.array([[1, 2, 2], [1, 2, 2]])
    allocation = np.array([[2, 0, 0], [1, 2, 1]])
    assert route_by_allocation(scores, classes, allocation, COSTS).tolist() == [[0, 1, 2], [0, 0, 1]]
    dear_first = route_by_allocation(scores, classes, allocation[:, ::-1], COSTS[::-1])
    assert dear_first.tolist() == [[2, 1, 0], [2, 2, 1]]


def test_policies_share_one_interface():
    scores = np.array([[0.05, 0.15], [0.25, 0.35]], np.float32)
    expected = {
        Routing("paper"): [[0, 1], [2, 2]],
        Routing("eq16"): [[0, 1], [1, 2]],
        Routing("eq16", 0.5): [[0, 0], [1, 1]],
        Routing("eq16", alpha=2.0): [[1, 2], [2, 2]],
        Routing("budget", 0.2): [[0, 0], [0, 0]],
        Routing("budget", 0.675): [[0, 1], [2, 2]],
        Routing("budget", 1.0): [[2, 2], [2, 2]],
        Routing("full"): [[2, 2], [2, 2]],
        Routing("w4d2"): [[1, 1], [1, 1]],
    }
    for routing, choice in expected.items():
        assert make_policy(routing, SUBNETS, COSTS, KNOWN)(scores).tolist() == choice, routing


def test_the_paper_orders_subnets_by_the_cost_that_counts():
    scores = np.array([[0.05, 0.35]], np.float32)
    assert make_policy(Routing("paper"), SUBNETS, [0.5, 0.2, 1.0], KNOWN)(scores).tolist() == [[1, 2]]


def test_without_an_error_table_a_budget_is_still_kept():
    policy = make_policy(Routing("budget", 0.6), SUBNETS, COSTS, Knowledge(KNOWN.thresholds))
    choice = policy(np.random.default_rng(0).random((12, 12)).astype(np.float32) / 2)
    assert 0.594 <= np.array(COSTS)[choice].mean() <= 0.6


def test_a_budget_over_a_set_gives_harder_images_more_and_holds_on_average():
    known = replace(KNOWN, shares=(0.25, 0.25, 0.25, 0.25))
    policy = make_policy(Routing("budget", 0.5, over="set"), SUBNETS, COSTS, known)
    scores = np.random.default_rng(0).uniform(0, 0.4, (40, 60)).astype(np.float32)
    scores.sort(axis=0)
    images = [scores[:20], scores[20:]]
    easy, hard = (np.array(COSTS)[policy(image)].mean() for image in images)
    assert easy < hard
    assert (easy + hard) / 2 == pytest.approx(0.5, rel=0.02)
    with pytest.raises(ValueError, match="a budget over a set needs the shares of the difficulty classes: run wbsr"):
        make_policy(Routing("budget", 0.5, over="set"), SUBNETS, COSTS, KNOWN)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            ("budgte", 0.5),
            "routing must be one of paper, eq16, budget, arm, classsr, full, or a subnet such as w36d4, got 'budgte'",
        ),
        (("budget",), "routing `budget` needs a budget: give a share of the full network's cost, such as 0.6"),
        (("paper", 0.5), "routing `paper` takes no budget, got 0.5: use routing `budget`"),
        (("budget", 1.1), r"budget must be in \(0, 1\], a share of the full network's cost, got 1.1"),
        (("budget", float("nan")), "budget must be in .*, got nan"),
        (("budget", 0.5, 1.0), "routing `budget` takes no alpha, got 1.0: use routing `eq16`"),
        (("paper", None, None, "flops", "set"), "routing `paper` keeps no budget over a set: use routing `budget`"),
        (("eq16", None, 0.0), "alpha must be above 0, got 0.0"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(request_, message):
    with pytest.raises(ValueError, match=message):
        Routing(*request_)


@pytest.mark.parametrize(
    ("routing", "known", "message"),
    [
        (Routing("budget", 0.1), KNOWN, "budget must be at least 0.2000, the cheapest subnet's share, got 0.1"),
        (Routing("eq16"), Knowledge(), "routing `eq16` needs the thresholds"),
        (Routing("w9d9"), KNOWN, "must name one of w4d1, w4d2, w8d2, got 'w9d9'"),
    ],
)
def test_a_request_that_the_weights_cannot_meet_is_refused(routing, known, message):
    with pytest.raises(ValueError, match=message):
        make_policy(routing, SUBNETS, COSTS, known)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (Knowledge((0.1,), KNOWN.errors), "one row per difficulty class, got 4 rows for 2 classes: run wbsr calibrate"),
        (Knowledge(None, KNOWN.errors), "got 4 rows for no thresholds"),
        (Knowledge((0.1,), ((1.0,), (1.0,))), "one column per subnet, got 1 columns for 3 subnets"),
    ],
)
def test_an_error_table_that_does_not_fit_is_refused(known, message):
    with pytest.raises(ValueError, match=message):
        known.check(3)
