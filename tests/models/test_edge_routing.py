"""ARM's routing: the table by hand, the best of η·PSNR - C by hand, a larger η never cheaper, bicubic in the engine."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from wbsr_arch import Subnet, Supernet
from wbsr_base.pixels.bicubic import interpolate
from wbsr_data import edge_score
from wbsr_models import DynamicUpscaler, EngineSettings, Profile, Routing, WBSRModel
from wbsr_models.checkpoints.metadata import Metadata, read_metadata
from wbsr_models.routing.choice import NO_SUBNET
from wbsr_models.routing.edge_table import EdgeTable, route_by_edge
from wbsr_models.testing.options import dynamic_options, parse_dynamic

NETWORK = {
    "type": "Supernet",
    "backbone": {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2},
    "widths": [4, 8],
    "depths": [1],
}
SUBNETS = [Subnet(4, 1), Subnet(8, 1)]
COSTS = [0.25, 1.0]
TABLE = EdgeTable((0.1, 0.2), ((40.0, 40.5, 40.5), (30.0, 31.0, 31.5), (20.0, 20.5, 22.0)))
PROFILE = Profile(8, edge_table=TABLE)
SCORES = np.array([[0.0, 0.1], [0.15, 0.9]], np.float32)


@pytest.fixture(scope="module")
def supernet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(**{key: value for key, value in NETWORK.items() if key != "type"}).eval()


@pytest.mark.parametrize(
    ("eta", "choice"),
    [
        (0.0, [[NO_SUBNET, NO_SUBNET], [NO_SUBNET, NO_SUBNET]]),
        (0.3, [[NO_SUBNET, 0], [0, NO_SUBNET]]),  # the last bin: 6, 5.9, 5.6
        (0.6, [[0, 0], [0, 1]]),  # 24, 24.05, 23.3; 18, 18.35, 17.9; 12, 12.05, 12.2
        (1.4, [[0, 0], [0, 1]]),  # 42, 43.15, 43.1 in the second bin
        (1.6, [[0, 1], [1, 1]]),  # 48, 49.35, 49.4; in the first, 0.25 saves more than no dB
    ],
)
def test_the_choice_by_hand(eta, choice):
    assert route_by_edge(SCORES, TABLE, COSTS, eta).tolist() == choice
    assert Routing("arm", eta=eta).chooser(SUBNETS, COSTS, PROFILE)(SCORES).tolist() == choice


def test_of_two_as_good_the_cheaper_is_chosen_whatever_the_order():
    table = EdgeTable((), ((30.0, 31.0, 31.0),))
    assert route_by_edge(np.zeros(1), table, [0.5, 0.5], 0.5).tolist() == [NO_SUBNET]
    assert route_by_edge(np.zeros(1), table, [0.75, 0.5], 1.0).tolist() == [1]


def test_a_larger_eta_never_costs_less():
    rng = np.random.default_rng(0)
    costs = np.sort(rng.uniform(0.1, 1, 4))
    psnr = 25 + rng.normal(0, 2, (30, 5))  # in no order of cost
    table = EdgeTable(tuple(np.linspace(0.01, 0.3, 29).tolist()), tuple(map(tuple, psnr.tolist())))
    scores = rng.uniform(0, 0.31, 500)
    spent = [np.array([*costs, 0])[route_by_edge(scores, table, costs, eta)] for eta in np.geomspace(0.001, 100, 60)]
    assert all((after >= before).all() for before, after in pairwise(spent))
    assert spent[0].max() < spent[-1].max()


def test_etas_of_flops_are_divided_by_the_full_networks():
    flops = 5.194e9
    published = [np.argmax(3e9 * np.array(row) - np.array([0, *COSTS]) * flops) - 1 for row in TABLE.psnr]
    middles = np.array([0.05, 0.15, 0.5])
    assert route_by_edge(middles, TABLE, COSTS, 3e9 / flops).tolist() == published


def test_a_checkpoint_keeps_its_table_and_an_older_one_has_none():
    entry = Metadata(NETWORK, PROFILE).plain()
    assert entry["edge_table"] == {"bounds": [0.1, 0.2], "psnr": [list(row) for row in TABLE.psnr]}
    assert read_metadata({"wbsr": entry}, "net.pth").profile == PROFILE
    del entry["edge_table"]
    assert read_metadata({"wbsr": entry}, "net.pth").profile == Profile(8)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"bounds": [0.1], "psnr": [[1.0, 2.0, 3.0]]},
            "one row for each of its 2 bins, got 1 rows: run wbsr",
        ),
        ({"bounds": [0.2, 0.1], "psnr": [[1.0]] * 3}, "the bounds of an edge table must not decrease"),
        ({"bounds": [0.1], "rows": []}, "wbsr:edge_table: unknown key 'rows'"),
    ],
)
def test_a_damaged_table_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        read_metadata({"wbsr": {**Metadata(NETWORK, Profile(8)).plain(), "edge_table": table}}, "net.pth")


def test_the_engine_interpolates_what_no_subnet_gets(supernet):
    x = torch.full((3, 40, 44), 0.5)
    x[:, :, 24:] = torch.rand(3, 40, 20, generator=torch.Generator().manual_seed(0))
    x[:, :8, 24:32] = 0.5
    table = EdgeTable((0.02,), ((50.0, 50.0, 50.0), (20.0, 21.0, 30.0)))
    profile, exact = Profile(8, edge_table=table), EngineSettings(halo=12)
    sr, report = DynamicUpscaler(supernet, profile, Routing("arm", eta=1.0), exact)(x)
    expected = np.where(edge_score(x, 8).numpy() < 0.02, NO_SUBNET, 1)
    assert np.array_equal(report.choice, expected)
    assert {NO_SUBNET, 1} == set(np.unique(expected))
    assert report.flops_share == report.cost_share == pytest.approx((expected == 1).mean())
    flat = torch.from_numpy(expected == NO_SUBNET).repeat_interleave(16, 0).repeat_interleave(16, 1)[:80, :88]
    with torch.no_grad():
        full = supernet(x[None])[0]
    interpolated = interpolate(x[None], *(2 * side for side in x.shape[1:]))[0]
    inner = torch.zeros_like(flat)
    inner[:, :32] = True  # far from every tile
    assert torch.equal(sr[:, flat & inner], interpolated[:, flat & inner])
    assert torch.allclose(sr[:, ~flat], full[:, ~flat], atol=1e-5)


def test_eta_zero_is_bicubic_of_the_whole_image_and_costs_nothing(supernet):
    from basicsr.utils.matlab_functions import imresize

    x = torch.rand(3, 33, 20, generator=torch.Generator().manual_seed(0))
    table = EdgeTable((0.02,), ((50.0, 51.0, 52.0), (20.0, 21.0, 30.0)))
    for device in ("auto", "cpu"):
        run = DynamicUpscaler(
            supernet, Profile(8, edge_table=table), Routing("arm", eta=0.0), EngineSettings(canvas_device=device)
        )
        sr, report = run(x)
        assert torch.equal(sr, interpolate(x[None], *(2 * side for side in x.shape[1:]))[0])
        assert (report.flops_share, report.flops_share_run) == (0, 0)
        assert torch.allclose(sr[:, 8:-8, 8:-8], imresize(x, 2)[:, 8:-8, 8:-8], atol=1e-5)


def test_a_budget_may_take_the_place_of_eta(supernet):
    run = DynamicUpscaler(supernet, replace(PROFILE, thresholds=(0.1,)), Routing("arm", eta=1.0))
    assert run(torch.rand(3, 16, 16), budget=0.9)[1].cost_share <= 0.9


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"mode": "arm"}, "routing `arm` needs eta: η, what one dB of a patch is worth as a share"),
        ({"mode": "arm", "eta": -1.0}, "eta must be at least 0 and finite, got -1.0"),
        ({"mode": "arm", "eta": float("inf")}, "eta must be at least 0 and finite, got inf"),
        ({"mode": "paper", "eta": 1.0}, "routing `paper` takes no eta, got 1.0: use routing `arm`"),
        ({"mode": "arm", "eta": 1.0, "budget": 0.5}, "routing `arm` takes no budget, got 0.5: use routing `budget`"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(request_, message):
    with pytest.raises(ValueError, match=message):
        Routing(**request_)


def test_a_table_that_is_missing_or_of_another_supernet_is_refused():
    with pytest.raises(ValueError, match="routing `arm` needs the edge table, which `wbsr calibrate --edge-table`"):
        Routing("arm", eta=1.0).chooser(SUBNETS, COSTS, Profile(8, (0.1,)))
    with pytest.raises(ValueError, match="a column for bicubic and one for each of the 3 subnets, got 3 columns"):
        PROFILE.check(3)


def test_a_list_of_etas_is_a_curve_of_a_test():
    curve = parse_dynamic({"routing": "arm", "eta": [0.1, 2]}, "dynamic").requests
    assert curve == (("arm 0.1", Routing("arm", eta=0.1)), ("arm 2", Routing("arm", eta=2.0)))
    beside = parse_dynamic({"routing": "full", "eta": [0.1]}, "dynamic").requests
    assert [label for label, _ in beside] == ["full", "arm 0.1"]
    assert parse_dynamic({"routing": "arm", "eta": 0.5}, "dynamic").requests == (("arm", Routing("arm", eta=0.5)),)
    for block, message in (
        ({"eta": []}, "eta must be a number or a list with one at least"),
        ({"eta": [1.0], "budget": [0.5]}, "one curve: give a list as budget or as eta, not both"),
        ({"eta": 1.0}, "routing `paper` takes no eta"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_dynamic(block, "dynamic")


def test_a_training_cannot_validate_by_a_table_that_does_not_exist_yet():
    opt = {"datasets": {"train": {"type": "HESPairedImageDataset"}}, "val": {"dynamic": {"routing": "arm", "eta": 1.0}}}
    with pytest.raises(ValueError, match=r"routing `arm` needs the edge table.*validate by routing: full"):
        dynamic_options(opt)


def test_a_test_takes_the_table_from_its_checkpoint_if_the_patches_are_the_same(supernet, tmp_path):
    entry = Metadata(NETWORK, PROFILE).plain()
    torch.save({"params": supernet.state_dict(), "wbsr": entry}, tmp_path / "net.pth")
    opt = {
        "name": "tiny",
        "scale": 2,
        "num_gpu": 0,
        "manual_seed": 0,
        "is_train": False,
        "dist": False,
        "network_g": NETWORK,
        "path": {"pretrain_network_g": str(tmp_path / "net.pth")},
        "val": {"dynamic": {"routing": "arm", "eta": 0.5}},
    }
    model = WBSRModel(opt)  # there are no thresholds, and none are needed
    (_, routing), *_ = model.dynamic.requests
    assert model.make_upscaler().routed(routing).profile.edge_table == TABLE
    opt["val"]["dynamic"]["patch_size"] = 16
    with pytest.raises(ValueError, match="routing `arm` needs the edge table"):
        WBSRModel(opt).make_upscaler().routed(routing)


def test_the_choice_follows_the_cost_that_counts():
    latency = replace(Routing("arm", eta=0.6), cost="latency")
    assert latency.chooser(SUBNETS, [0.9, 1.0], PROFILE)(SCORES).tolist() == [[-1, -1], [-1, 1]]
