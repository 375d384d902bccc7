"""A budget is kept to 1 %, spent as a linear programme would, and more of it never does harm."""

import numpy as np
import pytest
from scipy.optimize import linprog

from wbsr_models.routing.budget import allocate, in_proportion, lower_hull, steps_by_class, steps_by_error
from wbsr_models.routing.equations import route_by_cost

COSTS = [0.21, 0.25, 0.32, 0.43, 0.51, 0.66, 0.65, 0.77, 1.0]  # SRResNet's, two out of order


def table(seed, classes=10, costs=COSTS):
    """Errors that grow with the class and mostly fall with the cost; some subnets are dominated."""
    rng = np.random.default_rng(seed)
    level = np.geomspace(1e-5, 1e-2, classes)[:, None]
    return level * (1 + 0.3 / np.array(costs) + 0.3 * rng.random((classes, len(costs))))


def relaxed_error(counts, errors, costs, budget):
    """The least error of the relaxed problem, fractions of patches allowed, by a general solver."""
    classes, subnets = errors.shape
    found = linprog(
        errors.ravel(),
        A_ub=np.tile(costs, classes)[None],
        b_ub=[budget * counts.sum()],
        A_eq=np.kron(np.eye(classes), np.ones(subnets)),
        b_eq=counts,
    )
    assert found.success
    return found.fun


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [0.25, 0.4, 0.6, 0.8])
def test_the_error_is_that_of_a_linear_programme(seed, budget):
    errors, counts = table(seed), np.random.default_rng(seed).integers(0, 3000, 10)
    spent = allocate(counts, steps_by_error(errors, COSTS), COSTS, budget)
    assert (spent.sum(axis=1) == counts).all()
    assert (spent @ COSTS).sum() <= budget * counts.sum() + 1e-9
    expected = relaxed_error(counts, errors, COSTS, budget)
    assert expected * (1 - 1e-9) <= (spent * errors).sum() <= expected * 1.0005


@pytest.mark.parametrize("budget", np.linspace(0.22, 0.97, 16))
def test_the_mean_cost_is_within_1_percent_of_the_budget(budget):
    errors, counts = table(1), np.full(10, 7)
    best = allocate(counts, steps_by_error(errors, COSTS), COSTS, 1.0)
    ceiling = (best @ COSTS).sum() / counts.sum()  # from here on, dearer subnets would do worse
    for steps in (steps_by_error(errors, COSTS), steps_by_class(10, COSTS)):
        cost = (allocate(counts, steps, COSTS, budget) @ COSTS).sum() / counts.sum()
        assert cost <= budget + 1e-9
        assert cost >= 0.99 * min(budget, ceiling)


def test_more_budget_never_does_harm():
    rng = np.random.default_rng(0)
    for seed in range(40):
        costs = np.sort(rng.random(5)) + 0.05
        errors, counts = rng.random((4, 5)), rng.integers(0, 4, 4)
        steps = steps_by_error(errors, costs)
        budgets = np.linspace(costs[0], costs[-1], 60)
        found = [(allocate(counts, steps, costs, budget) * errors).sum() for budget in budgets]
        assert (np.diff(found) <= 1e-12).all(), seed


def test_a_hull_by_hand():
    # From (1, 10): to (2, 9) saves 1 per cost, to (3, 4) 3, to (5, 3) 1.75; then (5, 3); (4, 3.9) lies above that edge.
    assert lower_hull([1, 2, 3, 4, 5, 6], [10, 9, 4, 3.9, 3, 3.5]) == [0, 2, 4]
    assert lower_hull([2, 1], [1, 5]) == [1, 0]
    assert lower_hull([1, 2], [1, 1]) == [0]


def test_where_there_is_no_error_table_the_order_is_that_of_equation_16():
    counts = np.arange(1, 11)
    classes = np.repeat(np.arange(1, 11), counts)
    steps = steps_by_class(10, COSTS)
    for alpha in np.linspace(0.2, 3, 23):
        chosen = route_by_cost(classes, 10, COSTS, 1.0, alpha)
        expected = np.array([np.bincount(chosen[classes == k], minlength=9) for k in range(1, 11)])
        spent = allocate(counts, steps, COSTS, float(np.array(COSTS)[chosen].mean()))
        assert np.array_equal(spent, expected), alpha


def test_a_division_in_proportion_adds_up_and_is_near():
    rng = np.random.default_rng(0)
    whole, counts = rng.integers(1, 500, (6, 4)), rng.integers(0, 40, 6)
    found = in_proportion(counts, whole)
    assert (found.sum(axis=1) == counts).all()
    assert (found >= 0).all()
    assert np.abs(found - counts[:, None] * whole / whole.sum(axis=1, keepdims=True)).max() <= 1


def test_subnets_of_equal_cost_do_no_harm():
    assert len(steps_by_class(3, [1.0, 1.0, 2.0])) == 3
    assert allocate([5], steps_by_error([[3.0, 2.0, 1.0]], [1.0, 1.0, 2.0]), [1.0, 1.0, 2.0], 1.0).tolist() == [
        [0, 5, 0]
    ]


def test_a_budget_below_the_cheapest_subnet_is_refused():
    with pytest.raises(ValueError, match=r"budget must be at least the cheapest subnet's cost of 0.21, got 0.2"):
        allocate([1], steps_by_class(1, COSTS), COSTS, 0.2)
