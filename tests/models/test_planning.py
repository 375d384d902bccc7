"""The plan that is predicted to be fastest is taken, and none under which a patch gets less than it was routed to."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wbsr_arch import Supernet
from wbsr_models import DynamicUpscaler, EngineSettings, Profile
from wbsr_models.inference import upscaler as upscaler_module
from wbsr_models.inference.costs import SIDES, CostModel, costs_by_work
from wbsr_models.inference.curve import Curve
from wbsr_models.inference.planner import Request
from wbsr_models.inference.planning import Planner
from wbsr_models.inference.trimming import WHOLE
from wbsr_models.inference.window_planner import WindowPlanner

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(BACKBONE, widths=[4, 8], depths=[1, 2]).eval()


def lines(per_pixel, per_call=0.0):
    return tuple(Curve.line(per_call, each) for each in per_pixel)


def costs_of(dense=(1, 2, 3, 4), tiles=(1, 2, 3, 4), windows=(1, 2, 3, 4), measured=True):
    return CostModel(lines(dense), lines(tiles), dict.fromkeys(SIDES, lines(windows)), (0.0,) * 4, measured=measured)


def planned(choice, costs, size=(160, 192), max_pixels=10**9, **options):
    request = Request(np.asarray(choice), *size, costs, max_pixels, lambda: [WHOLE] * 4)
    return Planner(16, EngineSettings(**options), 4)(request)


HALF = np.where(np.arange(12) < 6, 0, 3)[None].repeat(10, 0)  # left the cheapest subnet, right the full one


def test_routed_plans_win_where_they_save_more_than_halos_cost():
    plan, why = planned(HALF, costs_of())
    assert plan.kind == "tiles"  # which have no halo where a neighbour is joined
    assert why == {"dense": 4 * 160 * 192, "windows": pytest.approx(why["windows"]), "tiles": plan.seconds}
    assert plan.seconds < 0.7 * why["dense"]


def test_windows_win_where_each_call_costs_and_they_take_few():
    plan, why = planned(HALF, costs_of(tiles=(2, 4, 6, 8)))
    assert plan.kind == "windows"
    assert why["windows"] < 0.97 * why["dense"]
    assert "tiles" not in why or why["tiles"] > why["windows"]


def test_a_dense_run_wins_where_all_patches_need_the_full_network():
    plan, why = planned(np.full((10, 12), 3), costs_of())
    assert plan.kind == "dense"
    assert plan.tiles[0].subnet == 3
    assert list(why) == ["dense"]  # windows have a halo, so they need no planning


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 999),
    st.lists(st.floats(0.5, 4), min_size=4, max_size=4),
    st.floats(0, 2000),
    st.integers(1, 12),
    st.integers(1, 10),
    st.integers(200, 30000),
)
def test_windows_never_take_less_than_the_least_by_which_they_are_left_out(seed, per_pixel, per_call, rows, cols, most):
    choice = np.random.default_rng(seed).integers(-1, 4, (rows, cols))
    bent = tuple(Curve(((100.0, per_call + 100 * each), (5000.0, per_call + 9000 * each))) for each in per_pixel)
    costs = CostModel(bent, bent, dict.fromkeys(SIDES, bent), (0.0,) * 4, batch_pixels=most, measured=True)
    request = Request(choice, 16 * rows - 5, 16 * cols - 3, costs, 10**9, list)
    planner = WindowPlanner(16, EngineSettings())
    assert planner.least(request) <= planner(request).seconds * (1 + 1e-9)


def test_a_dense_run_wins_a_near_tie():
    """Its prediction misses nothing that the others have to do beside their network calls."""
    same = costs_of(windows=(0.98, 0.98, 0.98, 0.98), dense=(1, 1, 1, 1), tiles=(9, 9, 9, 9))
    assert planned(np.full((10, 12), 3), same, halo=0)[0].kind == "dense"
    faster = costs_of(windows=(0.9, 0.9, 0.9, 0.9), dense=(1, 1, 1, 1), tiles=(9, 9, 9, 9))
    assert planned(np.full((10, 12), 3), faster, halo=0)[0].kind == "windows"


def test_a_dense_run_takes_the_fastest_subnet_that_is_large_enough():
    choice = np.zeros((10, 12), int)
    choice[0, 0] = 1
    plan, _ = planned(choice, costs_of(dense=(1, 9, 2, 3)), plan="dense")
    assert plan.tiles[0].subnet == 2


def test_by_arithmetic_tiles_and_dense_runs_are_compared():
    plan, why = planned(HALF, costs_of(measured=False))
    assert plan.kind == "tiles"
    assert set(why) == {"dense", "tiles"}
    plan, why = planned(HALF, costs_of(measured=False, tiles=(4, 4, 4, 4.5), windows=(0, 0, 0, 0)))
    assert plan.kind == "dense"
    assert set(why) == {"dense"}  # tiles could not win even without a halo


def test_what_does_not_fit_is_not_thought_of():
    plan, why = planned(np.full((10, 12), 3), costs_of(tiles=(9, 9, 9, 9)), max_pixels=5000, halo=16)
    assert plan.kind == "windows"
    assert "dense" not in why  # no row fits with its halo
    plan, _ = planned(np.full((10, 12), 3), costs_of(), max_pixels=5000, plan="windows")
    assert max(places.side for places in plan.places) == 2  # 72 x 72 = 5184 pixels don't fit
    plan, _ = planned(np.full((10, 12), 3), costs_of(), max_pixels=24**2, plan="windows")
    assert {places.side for places in plan.places} == {1}


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(("wide", "bands"), [(192, 1), (191, 2), (100, 2), (99, 3), (6, 96)])
def test_a_dense_run_that_does_not_fit_is_cut_into_as_few_bands_as_do(wide, bands, upright):
    costs = CostModel(lines((1, 2, 3, 4), 7.0), *[lines((9, 9, 9, 9))] * 2, (0.0,) * 4)
    choice, size = (HALF.T, (192, 160)) if upright else (HALF, (160, 192))
    plan, _ = planned(choice, costs, size, max_pixels=160 * wide + 100, plan="dense")
    assert len(plan.tiles) == bands
    along = [(t.top, t.bottom) if upright else (t.left, t.right) for t in plan.tiles]
    across = {(t.left, t.right) if upright else (t.top, t.bottom) for t in plan.tiles}
    assert [first for first, _ in along] == [0, *(last for _, last in along[:-1])]
    assert (along[-1][1], across) == (192, {(0, 160)})
    assert {tile.subnet for tile in plan.tiles} == {3}
    pixels = [tile.window_height * tile.window_width for tile in plan.tiles]
    assert max(pixels) <= 160 * wide
    assert plan.seconds == pytest.approx(bands * 7 + 4 * sum(pixels))


def test_bands_that_are_halo_for_the_most_are_refused():
    with pytest.raises(ValueError, match="needs room for 960 pixels of the LR image of 160 x 192, but memory_mb"):
        planned(HALF, costs_of(), max_pixels=6 * 160 - 1, plan="dense")


@pytest.mark.parametrize("kind", ["tiles", "windows", "dense"])
def test_a_plan_that_is_asked_for_is_had(kind):
    plan, why = planned(HALF, costs_of(), plan=kind)
    assert plan.kind == kind
    assert list(why) == [kind]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 999),
    st.lists(st.floats(0.5, 4), min_size=4, max_size=4),
    st.floats(0, 2000),
    st.sampled_from(["auto", "windows", "tiles", "dense"]),
)
def test_no_patch_gets_a_smaller_subnet_than_it_was_routed_to(seed, per_pixel, per_call, kind):
    choice = np.random.default_rng(seed).integers(-1, 4, (10, 12))
    curves = lines(per_pixel, per_call)
    costs = CostModel(curves, curves, dict.fromkeys(SIDES, curves), (0.0,) * 4, measured=True)
    plan, _ = planned(choice, costs, plan=kind)
    got = np.full((160, 192), -1)
    for tile in getattr(plan, "tiles", ()):
        got[tile.top : tile.bottom, tile.left : tile.right] = tile.subnet
    for places in getattr(plan, "places", ()):
        runs = np.repeat([each.subnet for each in places.batches], [each.windows for each in places.batches])
        for subnet, row, col in zip(runs[places.window], places.row, places.col, strict=True):
            got[row * 16 : row * 16 + 16, col * 16 : col * 16 + 16] = subnet
    assert (got >= np.kron(choice, np.ones((16, 16), int))).all()


def test_a_cpu_does_not_measure_for_a_plan(supernet, monkeypatch):
    monkeypatch.setattr(upscaler_module, "measured_costs", lambda *arguments: pytest.fail("it was measured"))
    for kind in ("auto", "tiles", "windows", "dense"):
        _, report = DynamicUpscaler(supernet, Profile(16, (0.1,)), settings=EngineSettings(plan=kind))(
            torch.rand(3, 40, 50)
        )
        assert report.plan == kind or kind == "auto"
        assert report.why[report.plan] > 0


def test_on_a_cpu_a_dense_run_is_dearer_by_a_pixel_than_tiles(supernet):
    costs = costs_by_work(supernet, torch.device("cpu"))
    assert all(d.per_pixel > t.per_pixel for d, t in zip(costs.dense, costs.tiles, strict=True))
    assert not costs.measured


@pytest.mark.parametrize(
    ("scale", "options", "halo"), [(2, {}, 3), (3, {}, 3), (4, {}, 2), (8, {}, 2), (2, {"halo": 1}, 1)]
)
def test_tiles_of_small_scales_read_more_unless_a_halo_is_asked_for(scale, options, halo):
    settings = EngineSettings(plan="tiles", **options)
    request = Request(HALF, 160, 192, costs_of(), 10**9, lambda: [WHOLE] * 4)
    plan, _ = Planner(16, settings, scale)(request)
    assert max(tile.left - tile.window_left for tile in plan.tiles) == halo
    assert settings.window_halo == options.get("halo", 4)
