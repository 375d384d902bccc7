"""Which squares become windows, where windows lie, and how they are put together to calls."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbsr_models.inference.batches import Batches
from wbsr_models.inference.curve import Curve
from wbsr_models.inference.windows import Batch, Grid, Layout, arrange, cover

SIZES = [(64, 64), (65, 97), (7, 5), (1, 1), (1, 300), (3, 200), (33, 32), (100, 31), (17, 160)]


def random_choice(rows, cols, seed, lowest=-1):
    return np.random.default_rng(seed).integers(lowest, 4, (rows, cols))


def price_of(squares, prices):
    return sum(prices[side][square] for side, all_of in squares.items() for square in all_of[all_of >= 0])


def cheapest(choice, prices, side, top=0, left=0):
    """The quadtree's answer by trying everything: square by square, one window or four quarters."""
    want = choice[top : top + side, left : left + side]
    highest = want.max() if want.size else -1
    if highest < 0:
        return 0.0
    whole = prices[side][highest]
    if side == 1:
        return whole
    half = side // 2
    quarters = itertools.product((top, top + half), (left, left + half))
    return min(whole, sum(cheapest(choice, prices, half, *quarter) for quarter in quarters))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 999), st.floats(1.0, 2.0))
def test_the_cheapest_windows_are_found(rows, cols, seed, halo):
    choice, base = random_choice(rows, cols, seed), np.array([1.0, 1.5, 2.0, 4.0])
    prices = {side: base * (side + halo) ** 2 for side in (1, 2, 4)}
    squares = cover(choice, prices, 4)
    expected = sum(cheapest(choice, prices, 4, top, left) for top in range(0, rows, 4) for left in range(0, cols, 4))
    assert price_of(squares, prices) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 999), st.sampled_from([(1,), (2,), (4,), (1, 2), (2, 4)]))
def test_every_patch_is_in_one_window_of_a_subnet_as_large(rows, cols, seed, sides):
    choice = random_choice(rows, cols, seed)
    squares = cover(choice, {side: np.array([1.0, 1.5, 2.0, 4.0]) * (side + 1) ** 2 for side in sides}, 4)
    assert all((squares[side] == -1).all() for side in squares if side not in sides)
    got = [np.kron(each, np.ones((side, side), np.int64))[:rows, :cols] for side, each in squares.items()]
    times = sum((each >= 0).astype(int) for each in got)
    assert times.max() <= 1
    assert (times[choice >= 0] == 1).all()
    assert (np.max(got, axis=0)[choice >= 0] >= choice[choice >= 0]).all()


def test_like_neighbours_are_joined_and_one_that_differs_is_not():
    choice = np.zeros((8, 8), np.int64)
    choice[0, 0] = 3
    prices = {side: np.array([1.0, 2.0, 4.0, 20.0]) * (32 * side + 8) ** 2 for side in (1, 2, 4)}
    squares = cover(choice, prices, 4)
    assert squares[4].tolist() == [[-1, 0], [0, 0]]
    assert squares[2][:2, :2].tolist() == [[-1, 0], [0, 0]]
    assert squares[1][:2, :2].tolist() == [[3, 0], [0, 0]]


def arranged(size, side, halo=3):
    """All windows of a side, under subnets 0 and 1 by turns, two more than there are of the second."""
    layout = Layout(*size, 16, halo)
    grid = Grid(layout, (1, 2, 4), 4)
    subnets = np.full(len(grid.top[side]), -1)
    used = np.unique(grid.square[side])
    subnets[used] = np.arange(len(used)) % 2
    counts = np.bincount(subnets[used], minlength=2)
    batches = [Batch(m, 1, count + 2 * m) for m, count in enumerate(counts.tolist()) if count]
    return layout, grid, subnets, counts, arrange(subnets, side, grid, batches)


@pytest.mark.parametrize("side", [1, 2, 4])
@pytest.mark.parametrize("size", SIZES)
def test_windows_lie_in_the_image_and_have_a_halo_or_its_border(size, side):
    layout, _, _, _, found = arranged(size, side)
    shape = layout.window(side)
    everywhere = list(itertools.product(range(layout.rows), range(layout.cols)))
    assert sorted(zip(found.row.tolist(), found.col.tolist(), strict=True)) == everywhere
    for begins, place, firsts, length, window in (
        (found.down, found.row, found.top, size[0], shape[0]),
        (found.right, found.col, found.left, size[1], shape[1]),
    ):
        first = firsts[found.window]
        assert (first >= 0).all()
        assert (first + window <= length).all()
        assert (first + begins == 16 * place).all()
        after = first + window - np.minimum(16 * (place + 1), length)
        assert ((begins >= 3) | (first == 0)).all()
        assert ((after >= 3) | (first + window == length)).all()


@pytest.mark.parametrize("side", [1, 2, 4])
@pytest.mark.parametrize("size", SIZES)
def test_windows_run_in_the_order_of_their_subnets_and_the_last_fills_up(size, side):
    _, grid, subnets, counts, found = arranged(size, side)
    assert len(found.top) == sum(batch.windows for batch in found.batches) == len(found.left)
    assert (np.diff(found.window) >= 0).all()
    runs = np.repeat([batch.subnet for batch in found.batches], [batch.windows for batch in found.batches])
    squares = grid.square[side][found.row * grid.layout.cols + found.col]
    assert (runs[found.window] == subnets[squares]).all()
    if counts[1]:  # the last window of subnet 1 stands there three times, and is written from the first alone
        assert len(set(zip(found.top[-3:].tolist(), found.left[-3:].tolist(), strict=True))) == 1
        assert found.window.max() == len(found.top) - 3


def batches(most=8, captured=(0.0,) * 3, curves=((0.0, 1.0), (0.0, 2.0), (0.0, 4.0))):
    return Batches([Curve.line(*each) for each in curves], 10, most, 120, captured)


def test_a_subnet_takes_as_few_calls_as_hold_its_windows_evenly():
    windows = np.array([0, 1, 8, 9, 20])
    assert batches().calls[windows].tolist() == [0, 1, 1, 2, 3]
    assert batches().sizes[0, windows].tolist() == [0, 1, 8, 5, 7]
    assert batches(curves=((3.0, 1.0),) * 3).seconds[0, windows].tolist() == [0, 13, 83, 2 * 53, 3 * 73]


def test_captured_batches_have_sizes_of_a_short_list_where_they_are_small():
    found = batches(most=100, captured=(0.0, 130.0, 10**9))
    windows = np.array([1, 5, 9, 13, 30, 70, 97])
    assert found.sizes[0, windows].tolist() == windows.tolist()
    assert found.sizes[1, windows].tolist() == [1, 6, 12, 13, 30, 70, 97]  # 16 windows would be above 130 pixels
    assert found.sizes[2, windows].tolist() == [1, 6, 12, 16, 32, 96, 100]


def seconds_of(found, numbers, counts, toll):
    windows = np.bincount(numbers, counts, 3).astype(int)
    return float(sum(found.seconds[m, windows[m]] + toll * found.calls[windows[m]] for m in range(3)))


def brute_force(found, counts, toll):
    """The cheapest lift by trying every subset of subnets that run."""
    best = np.inf
    for runs in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in range(4)):
        if any(count and not any(run >= m for run in runs) for m, count in enumerate(counts)):
            continue
        to = [min((run for run in runs if run >= m), default=m) for m in range(3)]
        best = min(best, seconds_of(found, to, counts, toll))
    return best


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=3, max_size=3),
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 3)), min_size=3, max_size=3),
    st.sampled_from([0.0, 5.0, 500.0]),
    st.sampled_from([8, 100]),  # the first fills up last calls, so that two groups of one subnet may cost less apart
)
def test_lifting_is_never_dearer_than_any_other_choice_of_subnets(counts, curves, toll, most):
    found = batches(most=most, curves=curves)
    numbers = found.lift(np.array(counts), toll)
    assert all(numbers[m] >= m for m in range(3) if counts[m])
    assert most == 8 or seconds_of(found, numbers, counts, toll) <= brute_force(found, counts, toll) * (1 + 1e-9)


def test_windows_run_under_a_larger_subnet_that_the_device_is_faster_with():
    assert batches(curves=((0.0, 3.0), (0.0, 1.0), (0.0, 4.0))).lift(np.array([4, 0, 0]))[0] == 1


def test_the_price_of_a_window_is_that_of_the_cheapest_subnet_as_large():
    assert batches(curves=((0.0, 3.0), (0.0, 1.0), (8.0, 4.0))).prices.tolist() == [10.0, 10.0, 41.0]
