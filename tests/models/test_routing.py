"""Routing by the paper's equations and by shares of a budget, and what a request for it may say."""

from dataclasses import replace

import numpy as np
import pytest

from wbsr_arch import Subnet
from wbsr_models import Profile, Routing
from wbsr_models.routing.by_budget import Budget
from wbsr_models.routing.edge_table import EdgeTable
from wbsr_models.routing.equations import route_by_allocation, route_by_class, route_by_cost
from wbsr_models.routing.policies import POLICIES, asked_by, make_policy, option_names, with_budget

SUBNETS = [Subnet(4, 1), Subnet(4, 2), Subnet(8, 2)]
COSTS = [0.2, 0.5, 1.0]
KNOWN = Profile(
    8,
    (0.1, 0.2, 0.3),
    ((4.0, 3.9, 3.8), (8.0, 4.0, 3.9), (8.0, 7.0, 2.0), (9.0, 8.0, 1.0)),
    edge_table=EdgeTable((), ((30.0, 31.0, 32.0, 33.0),)),
)


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
    assert printed == [2, 0]  # which is why equations.py reads it otherwise


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
        assert routing.chooser(SUBNETS, COSTS, KNOWN)(scores).tolist() == choice, routing


def test_the_paper_orders_subnets_by_the_cost_that_counts():
    scores = np.array([[0.05, 0.35]], np.float32)
    assert Routing("paper").chooser(SUBNETS, [0.5, 0.2, 1.0], KNOWN)(scores).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (Profile(8, KNOWN.thresholds), KNOWN),
        (Profile(8, (0.1, 0.2)), Profile(8, (0.1, 0.2), edge_table=KNOWN.edge_table)),
        (Profile(16, KNOWN.thresholds), Profile(16, KNOWN.thresholds)),
    ],
)
def test_tables_hold_for_the_patches_and_classes_that_they_were_measured_on(own, expected):
    assert own.with_tables(KNOWN) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": (0.2, 0.1)}, "thresholds must not fall from class to class"),
        ({"thresholds": (float("nan"), 0.1)}, "thresholds must not fall from class to class"),
        ({"error_table": ((float("nan"), 1.0),) * 3}, "error_table must hold numbers of at least 0"),
        ({"class_shares": (0.5, -0.1, 0.6)}, "class_shares must hold numbers of at least 0"),
    ],
)
def test_tables_of_what_is_no_number_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Profile(**{"patch_size": 8, "thresholds": (0.1, 0.2), **change})


def test_without_an_error_table_a_budget_is_still_kept():
    policy = Routing("budget", 0.6).chooser(SUBNETS, COSTS, Profile(8, KNOWN.thresholds))
    choice = policy(np.random.default_rng(0).random((12, 12)).astype(np.float32) / 2)
    assert 0.594 <= np.array(COSTS)[choice].mean() <= 0.6


def test_a_budget_over_a_set_gives_harder_images_more_and_holds_on_average():
    known = replace(KNOWN, class_shares=(0.25, 0.25, 0.25, 0.25))
    policy = Routing("budget", 0.5, budget_over="set").chooser(SUBNETS, COSTS, known)
    scores = np.random.default_rng(0).uniform(0, 0.4, (40, 60)).astype(np.float32)
    scores.sort(axis=0)
    images = [scores[:20], scores[20:]]
    easy, hard = (np.array(COSTS)[policy(image)].mean() for image in images)
    assert easy < hard
    assert (easy + hard) / 2 == pytest.approx(0.5, rel=0.02)
    with pytest.raises(ValueError, match="routing `budget` needs the shares of the difficulty classes, which"):
        Routing("budget", 0.5, budget_over="set").chooser(SUBNETS, COSTS, KNOWN)


@pytest.mark.parametrize(
    ("mode", "options", "message"),
    [
        (
            "budgte",
            {"budget": 0.5},
            f"routing must be one of {', '.join(POLICIES)}, or a subnet such as w36d4, got 'budgte'",
        ),
        ("budget", {}, "routing `budget` needs budget: the mean cost, as a share of the full network's, in .*0.6"),
        ("paper", {"budget": 0.5}, "routing `paper` takes no budget, got 0.5: use routing `budget`"),
        ("budget", {"budget": 1.1}, r"budget must be in \(0, 1\], a share of the full network's cost, got 1.1"),
        ("budget", {"budget": float("nan")}, "budget must be in .*, got nan"),
        ("budget", {"budget": 0.5, "alpha": 1.0}, "routing `budget` takes no alpha, got 1.0: use routing `eq16`"),
        ("paper", {"budget_over": "set"}, "routing `paper` takes no budget_over, got set: use routing `budget`"),
        ("eq16", {"alpha": 0.0}, "alpha must be above 0, got 0.0"),
        ("full", {"subnet": "small"}, "a subnet is written like w36d4"),
        ("paper", {"cost": "time"}, "cost must be one of flops, latency, got 'time'"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(mode, options, message):
    with pytest.raises(ValueError, match=message):
        Routing(mode, **options)


def test_an_option_that_no_policy_has_or_of_another_type_is_refused():
    with pytest.raises(TypeError, match="routing has no option 'budegt_over': did you mean"):
        Routing("budget", 0.5, budegt_over="set")
    with pytest.raises(TypeError, match="budget must be a number, got"):
        Routing("budget", "0.5")


def test_each_option_asks_for_the_policy_whose_knob_it_is():
    assert asked_by({"budget": 0.5}) == "budget"
    assert asked_by({"eta": 0.5, "budget": None}) == "arm"
    assert asked_by({"subnet": "w4d1"}) == "full"
    assert asked_by({"alpha": 1.0, "cost": "latency"}) is None
    for name, kind in POLICIES.items():
        assert kind.name == name
        assert kind.knob is None or kind.knob in option_names()


def test_another_budget_keeps_what_else_was_asked_for():
    assert with_budget(Routing("eq16", alpha=2.0), 0.5) == Routing("eq16", 0.5, alpha=2.0)
    assert with_budget(Routing("budget", 0.9, budget_over="set"), 0.5) == Routing("budget", 0.5, budget_over="set")
    assert with_budget(Routing("arm", eta=1.0, cost="latency"), 0.5) == Budget(0.5, cost="latency")


@pytest.mark.parametrize(
    ("routing", "known", "message"),
    [
        (Routing("budget", 0.1), KNOWN, "budget must be at least 0.2000, the cheapest subnet's share, got 0.1"),
        (Routing("eq16"), Profile(8), "routing `eq16` needs the thresholds"),
        (Routing("w9d9"), KNOWN, "must name one of w4d1, w4d2, w8d2, got 'w9d9'"),
    ],
)
def test_a_request_that_the_weights_cannot_meet_is_refused(routing, known, message):
    with pytest.raises(ValueError, match=message):
        routing.chooser(SUBNETS, COSTS, known)


def test_a_table_that_does_not_fit_is_refused():
    for thresholds in (None, (0.1,)):
        classes = len(thresholds or ()) + 1
        message = f"error_table must have one row for each of the {classes} difficulty classes, got 4: run wbsr calibr"
        with pytest.raises(ValueError, match=message):
            Profile(8, thresholds, KNOWN.error_table)
    with pytest.raises(ValueError, match="class_shares must have one row for each of the 2 difficulty classes, got 1"):
        Profile(8, (0.1,), class_shares=(1.0,))
    with pytest.raises(ValueError, match="one column for each of the 3 subnets, got 1 columns: run wbsr calibrate"):
        Profile(8, (0.1,), ((1.0,), (1.0,))).check(3)
    with pytest.raises(ValueError, match="patch_size must be at least 1, got 0"):
        Profile(0)


def test_options_are_found_by_name_in_one_mapping():
    assert make_policy("eq16", {"budget": 0.5, "eta": None}) == Routing("eq16", 0.5)
    with pytest.raises(ValueError, match="val:dynamic: routing `paper` takes no eta"):
        make_policy("paper", {"eta": 1.0}, "val:dynamic")
