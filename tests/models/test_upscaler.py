"""Dynamic inference writes every pixel once, at the right place, by the right subnet, for every image size."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wbsr_arch import Subnet, Supernet
from wbsr_models import DynamicUpscaler, EngineSettings, Profile, Routing
from wbsr_models.checkpoints.metadata import Metadata
from wbsr_models.inference import upscaler as upscaler_module
from wbsr_models.inference.costs import SIDES, CostModel
from wbsr_models.inference.curve import Curve
from wbsr_models.inference.tiling import plan_tiles
from wbsr_models.routing.by_budget import _warn_once
from wbsr_models.routing.policies import POLICIES

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
KNOWN = Profile(16, (0.1, 0.2, 0.3))
CALIBRATED = replace(
    KNOWN, error_table=((4.0, 3.0, 2.0, 1.0),) * 3 + ((16.0, 8.0, 4.0, 2.0),), class_shares=(0.25,) * 4
)
SIZES = [(64, 64), (65, 97), (7, 5), (1, 1), (3, 200), (33, 32), (100, 31)]


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(BACKBONE, widths=[4, 8], depths=[1, 2]).eval()


class Nearest(torch.nn.Module):
    """A network whose answer is known."""

    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="nearest")


@pytest.mark.parametrize("halo", [0, 4])
@pytest.mark.parametrize("size", SIZES)
def test_stitching_a_local_predictor_is_exact_for_every_size(supernet, monkeypatch, size, halo):
    monkeypatch.setattr(supernet, "extract", lambda subnet: Nearest())
    x = torch.rand(3, *size)
    upscaler = DynamicUpscaler(supernet, Profile(16, (0.1, 0.3, 0.5)), settings=EngineSettings(halo=halo, max_tile=64))
    sr, report = upscaler(x)
    assert torch.equal(sr, Nearest()(x[None])[0])
    assert report.choice.shape == (-(-size[0] // 16), -(-size[1] // 16))


@pytest.mark.parametrize("size", SIZES)
def test_tiles_cover_every_pixel_once_inside_their_windows(size):
    rng = np.random.default_rng(3)
    rows, cols = (-(-side // 16) for side in size)
    choice = rng.integers(0, 4, (rows, cols))
    tiles = plan_tiles(choice, *size, 16, 4, [1.0, 1.5, 2.0, 4.0], 64)
    written = np.zeros(size, dtype=int)
    for tile in tiles:
        written[tile.top : tile.bottom, tile.left : tile.right] += 1
        assert 0 <= tile.window_top <= tile.top
        assert tile.bottom <= tile.window_top + tile.window_height <= size[0]
        assert 0 <= tile.window_left <= tile.left
        assert tile.right <= tile.window_left + tile.window_width <= size[1]
        routed = choice[tile.top // 16 : -(-tile.bottom // 16), tile.left // 16 : -(-tile.right // 16)]
        assert tile.subnet == routed.max()
    assert (written == 1).all()


def test_joining_tiles_never_costs_more_and_joins_what_is_alike():
    costs = [1.0, 4.0]
    alike = plan_tiles(np.zeros((8, 8), dtype=int), 128, 128, 16, 4, costs, 64)
    assert len(alike) == 4
    choice = np.zeros((8, 8), dtype=int)
    choice[0, 0] = 1
    mixed = plan_tiles(choice, 128, 128, 16, 4, costs, 64)
    assert {tile.subnet for tile in mixed} == {0, 1}
    apart = plan_tiles(choice, 128, 128, 16, 4, costs, 16)
    assert sum(costs[t.subnet] * t.window_height * t.window_width for t in mixed) < sum(
        costs[t.subnet] * t.window_height * t.window_width for t in apart
    )


def test_one_subnet_over_one_tile_is_the_dense_run(supernet):
    x = torch.rand(3, 40, 50)
    for routing, subnet in (("full", None), ("w4d1", Subnet(4, 1))):
        sr, report = DynamicUpscaler(supernet, 16, routing)(x)
        with torch.no_grad():
            assert torch.allclose(sr, supernet(x[None], subnet)[0], atol=1e-6)
        assert report.flops_share == pytest.approx(supernet.share(subnet or supernet.full))
        assert report.flops_share_run == pytest.approx(report.flops_share)


def test_a_batched_run_equals_a_run_one_by_one(supernet):
    x = torch.rand(3, 70, 90) * torch.linspace(0, 1, 90)
    one = DynamicUpscaler(supernet, KNOWN, settings=EngineSettings(halo=2, max_tile=16, batch_pixels=1))(x)
    many = DynamicUpscaler(supernet, KNOWN, settings=EngineSettings(halo=2, max_tile=16))(x)
    assert torch.allclose(one[0], many[0], atol=1e-6)
    assert np.array_equal(one[1].choice, many[1].choice)
    assert len(np.unique(many[1].choice)) > 1


def test_flat_patches_get_the_cheapest_and_textured_ones_the_full_network(supernet):
    x = torch.full((3, 32, 32), 0.5)
    x[:, :, 16:] = torch.rand(3, 32, 16)
    _, report = DynamicUpscaler(supernet, Profile(16, (0.05, 0.1, 0.15)))(x)
    assert report.choice.tolist() == [[0, 3], [0, 3]]
    shares = [flops / supernet.flops[supernet.full] for flops in supernet.flops.values()]
    assert report.flops_share == pytest.approx((shares[0] + shares[3]) / 2)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_each_thread_finds_tiles_to_take_and_room_for_them(supernet, monkeypatch, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    lr, settings = torch.empty(3, 512, 512), EngineSettings(memory_mb=60, plan="tiles")
    upscaler = DynamicUpscaler(supernet, Profile(32, (0.1, 0.2, 0.3)), settings=settings)
    plan = upscaler.plan(np.full((16, 16), 3), lr)
    room = upscaler.memory.batch_pixels(lr)
    largest = max(tile.window_height * tile.window_width for tile in plan.tiles)
    assert room / threads / 4 < largest <= room / threads
    assert len(plan.tiles) >= 2 * threads
    for tile in plan.tiles:
        assert plan.seconds >= threads * upscaler.costs.tiles[3](tile.window_height * tile.window_width)


TABLE = tuple(tuple(0.1 * k + 0.01 * k * (4 - m) for m in range(4)) for k in range(1, 5))


@pytest.mark.parametrize("error_table", [TABLE, None])
@pytest.mark.parametrize("budget", [0.35, 0.6, 0.9])
def test_a_budget_is_kept_to_1_percent_on_each_image(supernet, budget, error_table):
    x = torch.rand(3, 160, 180) * torch.linspace(0, 1, 180)
    upscaler = DynamicUpscaler(supernet, replace(KNOWN, error_table=error_table), Routing("budget", 0.5))
    _, report = upscaler(x, budget)
    assert 0.99 * budget <= report.flops_share <= budget
    assert report.cost_share == report.flops_share
    _, report = upscaler(x)
    assert 0.495 <= report.flops_share <= 0.5


def test_a_budget_without_an_error_table_says_so(supernet, caplog):
    _warn_once.cache_clear()
    for budget in (0.5, 0.6):
        DynamicUpscaler(supernet, Profile(16, (0.1,)), Routing("budget", budget))
    assert [r.getMessage() for r in caplog.records] == [
        "The weights have no error table, so the budget is spent by Eq. 16; `wbsr calibrate` measures the table, and "
        "the same budget then gives more quality."
    ]


@pytest.mark.parametrize(("budget", "message"), [(0.05, "budget must be at least 0.2"), (1.5, "must be in")])
def test_a_budget_out_of_range_is_refused(supernet, budget, message):
    with pytest.raises(ValueError, match=message):
        DynamicUpscaler(supernet, Profile(16, (0.1,), ((1.0,) * 4,) * 2))(torch.rand(3, 8, 8), budget)


def timed(monkeypatch, per_pixel, per_call=0.0):
    """Seconds of calls that were measured, as if."""
    curves = tuple(Curve.line(per_call, each) for each in per_pixel)
    costs = CostModel(curves, curves, dict.fromkeys(SIDES, curves), (0.0,) * len(curves), measured=True)
    monkeypatch.setattr(upscaler_module, "measured_costs", lambda *arguments: costs)


def test_a_budget_can_count_time_instead_of_flops(supernet, monkeypatch):
    timed(monkeypatch, (3.0, 1.0, 4.0, 10.0))
    x = torch.rand(3, 160, 180) * torch.linspace(0, 1, 180)
    routing = Routing("budget", 0.45, cost="latency")
    upscaler = DynamicUpscaler(supernet, replace(KNOWN, error_table=TABLE), routing, EngineSettings(halo=0))
    assert upscaler.cost_shares == (0.3, 0.1, 0.4, 1.0)
    _, report = upscaler(x)
    assert 0.98 * 0.45 <= report.cost_share <= 0.45
    assert report.cost_share == pytest.approx(np.array(upscaler.cost_shares)[report.choice].mean())
    assert 0 not in report.choice  # subnet 1 is faster and, by the table, better


@pytest.mark.parametrize("plan", ["auto", "tiles", "windows"])
@pytest.mark.parametrize("budget", [0.3, 0.6, 0.9])
def test_a_budget_in_time_pays_for_halos_and_calls(supernet, monkeypatch, plan, budget):
    timed(monkeypatch, (1.0, 3.0, 4.0, 10.0), per_call=500.0)
    x = torch.rand(3, 160, 180) * torch.linspace(0, 1, 180) ** 2
    routing, settings = Routing("budget", budget, cost="latency"), EngineSettings(plan=plan)
    upscaler = DynamicUpscaler(supernet, replace(KNOWN, error_table=TABLE), routing, settings)
    report, dense = upscaler(x)[1], float(upscaler.costs.dense[-1](160 * 180))
    assert 0.5 * budget * dense < report.why[report.plan] <= budget * dense
    assert report.cost_share < budget


def test_a_budget_in_time_that_cannot_be_kept_says_what_the_least_is(supernet, monkeypatch):
    timed(monkeypatch, (1.0, 3.0, 4.0, 10.0), per_call=2000.0)
    routing = Routing("budget", 0.2, cost="latency")
    upscaler = DynamicUpscaler(supernet, replace(KNOWN, error_table=TABLE), routing)
    message = r"budget must be at least 0.4000 on this image, halos and calls included, for it counts time"
    with pytest.raises(ValueError, match=message):
        upscaler(torch.rand(3, 20, 20))


@pytest.mark.parametrize("plan", ["auto", "tiles", "windows", "dense"])
def test_all_that_is_found_out_at_the_first_image_may_be_found_out_in_inference_mode(supernet, plan):
    x, settings = torch.rand(3, 60, 90), EngineSettings(plan=plan)
    expected, usual = DynamicUpscaler(supernet, KNOWN, settings=settings)(x)
    with torch.inference_mode():
        sr, report = DynamicUpscaler(supernet, KNOWN, settings=settings)(x)
        made = Supernet(BACKBONE, widths=[4, 8], depths=[1, 2])
    assert torch.equal(sr, expected)
    assert report.flops_share_run == usual.flops_share_run
    assert made.flops == supernet.flops


def test_another_routing_shares_the_networks(supernet):
    upscaler = DynamicUpscaler(supernet, KNOWN)
    other = upscaler.routed("w4d1")
    assert other.runner is upscaler.runner
    x = torch.rand(3, 20, 20)
    assert (other(x)[1].choice == 0).all()
    assert upscaler.policy.mode == "paper"


def test_weights_and_their_tables_come_from_one_file(supernet, tmp_path):
    network = {"type": "Supernet", "backbone": BACKBONE, "widths": [4, 8], "depths": [1, 2]}
    metadata = Metadata(network, replace(KNOWN, error_table=TABLE, class_shares=(0.25,) * 4))
    torch.save({"params_ema": supernet.state_dict(), "wbsr": metadata.plain()}, tmp_path / "net.pth")
    x = torch.rand(3, 70, 70)
    sr, report = DynamicUpscaler.from_checkpoint(tmp_path / "net.pth", device="cpu")(x, budget=0.6)
    direct = DynamicUpscaler(supernet, replace(KNOWN, error_table=TABLE), Routing("budget", 0.6))
    assert torch.equal(sr, direct(x)[0])
    assert report.choice.tolist() == direct.route(x).tolist()


def test_weights_that_do_not_fit_their_own_description_are_refused(supernet, tmp_path):
    network = {"type": "Supernet", "backbone": {**BACKBONE, "num_block": 3}, "widths": [4, 8], "depths": [1, 3]}
    torch.save({"params": supernet.state_dict(), "wbsr": Metadata(network, Profile(16)).plain()}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net.pth don't fit the network that their `wbsr` entry describes: .*body.2"):
        DynamicUpscaler.from_checkpoint(tmp_path / "net.pth")
    torch.save({"params": supernet.state_dict()}, tmp_path / "stock.pth")
    with pytest.raises(ValueError, match="is a stock checkpoint without a `wbsr` entry"):
        DynamicUpscaler.from_checkpoint(tmp_path / "stock.pth")


@pytest.mark.parametrize(
    ("profile", "policy", "message"),
    [
        (KNOWN, "budgte", f"routing must be one of {', '.join(POLICIES)}, or a subnet such as"),
        (KNOWN, "w5d1", "must name one of w4d1, w4d2, w8d1, w8d2, got 'w5d1'"),
        (16, "paper", "needs the thresholds"),
        (16, "classsr", "routing `classsr` needs the classifier of a network of type ClassSR"),
        (512, "full", "max_tile must be at least 512, the side of a patch, got 256"),
    ],
)
def test_what_does_not_fit_is_refused(supernet, profile, policy, message):
    with pytest.raises(ValueError, match=message):
        DynamicUpscaler(supernet, profile, policy)


def test_a_dense_plan_is_one_run_by_the_largest_subnet_that_is_needed(supernet):
    x = torch.full((3, 40, 44), 0.5)
    x[:, :, 24:] = torch.rand(3, 40, 20)
    settings = EngineSettings(plan="dense")
    sr, report = DynamicUpscaler(supernet, Profile(8, (0.001, 0.02, 5.0)), settings=settings)(x)
    assert report.plan == "dense"
    assert report.choice.max() == 2
    with torch.no_grad():
        assert torch.allclose(sr, supernet(x[None], supernet.subnets[2])[0], atol=1e-6)
    assert report.flops_share_run == pytest.approx(supernet.share(supernet.subnets[2]))
    assert report.flops_share < report.flops_share_run


def test_a_dense_plan_beyond_the_memory_runs_in_bands_with_halos(supernet):
    """The full network looks 2 x 2 + 4 pixels far."""
    x = torch.rand(3, 60, 44)
    settings = EngineSettings(plan="dense", memory_mb=1, halo=8)
    upscaler = DynamicUpscaler(supernet, 8, "full", settings)
    plan = upscaler.plan(upscaler.route(x), x)
    assert len(plan.tiles) > 1
    with torch.no_grad():
        assert torch.allclose(upscaler(x)[0], supernet(x[None])[0], atol=1e-6)


@pytest.mark.parametrize("settings", [EngineSettings(), EngineSettings(precision="bf16", self_ensemble=True)])
def test_weights_that_were_trained_further_are_taken_over(settings):
    network = Supernet(BACKBONE, widths=[4, 8], depths=[1, 2]).eval()
    upscaler, x = DynamicUpscaler(network, 16, "w4d2", settings), torch.rand(3, 40, 40)
    before = upscaler(x)[0]
    made = upscaler.pool.network(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.01
    assert torch.equal(upscaler(x)[0], before)
    upscaler.refresh()
    assert upscaler.pool.network(1) is made
    assert torch.equal(upscaler(x)[0], DynamicUpscaler(network, 16, "w4d2", settings)(x)[0])
    assert not torch.equal(upscaler(x)[0], before)


@pytest.mark.parametrize("plan", ["tiles", "windows", "dense"])
@pytest.mark.parametrize("size", [(10, 12), (70, 90)])
def test_a_result_may_be_written_into(supernet, plan, size):
    """It is no tensor of inference mode, which torch would refuse to change."""
    sr, _ = DynamicUpscaler(supernet, KNOWN, settings=EngineSettings(plan=plan))(torch.rand(3, *size))
    assert not sr.is_inference()
    sr.clamp_(0, 1)


def test_a_dense_plan_says_how_much_memory_is_enough(supernet):
    def run(memory):
        settings = EngineSettings(plan="dense", halo=4, memory_mb=memory)
        return DynamicUpscaler(supernet, KNOWN, "full", settings)(torch.rand(3, 60, 300))[0]

    with pytest.raises(ValueError, match=r"least \d+ for an LR image of 60 x 300, bands and a halo of 4, got 0.8") as e:
        run(0.8)
    assert run(int(str(e.value).split("at least ")[1].split()[0])).shape == (3, 120, 600)


def test_another_budget_for_an_image_is_kept_over_it_whatever_the_policy_is_kept_over(supernet):
    images = torch.rand(3, 100, 80), torch.linspace(0, 1, 80).expand(3, 100, 80)
    upscalers = [DynamicUpscaler(supernet, CALIBRATED, Routing("budget", 0.6, budget_over=o)) for o in ("set", "image")]
    for image in images:
        over_a_set, over_it = (upscaler(image, budget=0.5)[1].cost_share for upscaler in upscalers)
        assert over_a_set == over_it


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_flat_places_are_interpolated_in_half_precision_too(supernet, dtype):
    lr = torch.rand(3, 64, 64)
    lr[:, :32] = 1
    upscaler = DynamicUpscaler(supernet, KNOWN, Routing("paper", flat=True))
    found, expected = upscaler(lr.to(dtype))[0], upscaler(lr)[0]
    assert found.dtype == dtype
    assert (found[:, :56] == 1).all()
    assert (found.float() - expected).abs().max() < 0.02


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_pixels_that_are_no_numbers_are_refused_where_patches_are_scored(supernet, bad, flat):
    lr = torch.rand(3, 40, 40)
    lr[0, 5, 5] = bad
    with pytest.raises(ValueError, match="image must be finite numbers of range 0-1, got NaN or infinity"):
        DynamicUpscaler(supernet, KNOWN, Routing("paper", flat=flat))(lr)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.zeros(3, 8, 8, dtype=torch.uint8), TypeError, "floating point of range 0-1, got torch.uint8"),
        (torch.zeros(3, 8, 8, dtype=torch.complex64), TypeError, "floating point of range 0-1, got torch.complex64"),
        (
            torch.rand(1, 8, 8),
            ValueError,
            r"image must be \(3, H, W\) or \(1, 3, H, W\) and not empty, got \(1, 8, 8\)",
        ),
        (torch.rand(8, 8, 3), ValueError, r"got \(8, 8, 3\)"),
        (torch.rand(2, 3, 8, 8), ValueError, r"got \(2, 3, 8, 8\)"),
        (torch.rand(8, 8), ValueError, r"got \(8, 8\)"),
    ],
)
@pytest.mark.parametrize("policy", ["full", "paper"])
def test_what_is_no_image_of_the_network_is_refused(supernet, policy, image, error, message):
    with pytest.raises(error, match=message):
        DynamicUpscaler(supernet, KNOWN, policy)(image)


def test_a_budget_that_is_no_number_and_a_profile_of_other_patches_are_refused(supernet):
    upscaler = DynamicUpscaler(supernet, KNOWN)
    with pytest.raises(TypeError, match=r"budget must be one number, got \[0\.2\]"):
        upscaler(torch.rand(3, 8, 8), budget=[0.2])
    with pytest.raises(ValueError, match="the profile's patch_size must be 16, got 8"):
        upscaler.routed("paper", replace(KNOWN, patch_size=8))


def test_an_empty_image_is_refused(supernet):
    with pytest.raises(ValueError, match=r"not empty, got \(3, 0, 4\)"):
        DynamicUpscaler(supernet, Profile(16, (0.1,)))(torch.rand(3, 0, 4))


@pytest.mark.gpu
def test_cpu_and_gpu_agree_on_routing_and_output(supernet):
    x = torch.rand(3, 90, 70) * torch.linspace(0, 1, 70)
    sr, report = DynamicUpscaler(supernet, KNOWN, settings=EngineSettings(plan="tiles"))(x)
    on_gpu = Supernet(BACKBONE, widths=[4, 8], depths=[1, 2])
    on_gpu.load_state_dict(supernet.state_dict())
    found, found_report = DynamicUpscaler(on_gpu.cuda(), KNOWN, settings=EngineSettings(plan="tiles"))(x.cuda())
    assert np.array_equal(found_report.choice, report.choice)
    assert torch.allclose(found.cpu(), sr, atol=1e-2)


@pytest.mark.parametrize("plan", ["tiles", "dense"])
def test_an_image_that_overflows_in_half_precision_is_upscaled_in_full(supernet, caplog, plan):
    large = copy.deepcopy(supernet)
    with torch.no_grad():
        large.get_parameter("conv_first.weight").mul_(4e5)
        large.get_parameter("conv_last.weight").mul_(1e-6)
    x = torch.rand(3, 40, 24)
    full, _ = DynamicUpscaler(large, KNOWN, "full", EngineSettings(plan=plan))(x)
    half = DynamicUpscaler(large, KNOWN, "full", EngineSettings(plan=plan, precision="fp16"))
    assert full.isfinite().all()
    for _ in range(2):
        assert torch.equal(half(x)[0], full)
    assert "An image overflowed in fp16: it was upscaled in fp32." in caplog.messages
    caplog.clear()
    assert half(0 * x)[0].isfinite().all()
    assert not caplog.messages


class Alone(DynamicUpscaler):
    """On a device that computes while the host does something else."""

    _works_alone = True


def test_an_image_begins_dense_where_the_one_before_ran_so_and_scores_are_read_meanwhile(supernet, monkeypatch):
    events, run, routed = [], Alone._run, Alone._routed
    monkeypatch.setattr(Alone, "_run", lambda self, lr, plan: events.append(plan.kind) or run(self, lr, plan))
    monkeypatch.setattr(Alone, "_routed", lambda self, *given: events.append("routed") or routed(self, *given))
    hard, flat, other = torch.rand(3, 40, 44), torch.full((3, 40, 44), 0.5), torch.rand(3, 44, 40)
    upscaler = Alone(supernet, Profile(8, (0.001, 0.02, 0.03)), settings=EngineSettings(plan="dense"))
    dense = upscaler.routed("full")(hard)[0]

    def upscaled(image):
        events.clear()
        sr, report = upscaler(image)
        return sr, report, list(events)

    assert upscaled(hard)[2] == ["routed", "dense"]
    sr, report, order = upscaled(hard)
    assert order == ["dense", "routed"]
    assert torch.equal(sr, dense)
    assert (report.choice.max(), report.plan, report.flops_share_run) == (3, "dense", 1.0)
    sr, report, order = upscaled(flat)  # expected in vain: as good as was asked for, and told so
    assert order == ["dense", "routed"]
    assert (report.choice.max(), report.flops_share_run) == (0, 1.0)
    assert torch.equal(sr, upscaler.routed("full")(flat)[0])
    sr, report, order = upscaled(hard)
    assert order == ["routed", "dense"]
    assert upscaled(other)[2] == ["routed", "dense"]  # of another size
    assert upscaler.routed("w8d2")._again == {}  # another policy
    assert DynamicUpscaler(supernet, 8, "full", EngineSettings(plan="dense"))._may_begin_with(None) is False


def test_no_image_begins_before_it_was_looked_at_on_a_cpu_or_with_another_plan(supernet):
    x, settings = torch.rand(3, 40, 44), EngineSettings(plan="dense")
    for upscaler in (
        DynamicUpscaler(supernet, 8, "full", settings),
        Alone(supernet, 8, "full", EngineSettings(plan="tiles")),
        Alone(supernet, 8, "full", EngineSettings(plan="windows")),
        Alone(supernet, 8, "w8d1", settings),
        Alone(supernet, 8, Routing("full", flat=True), settings),
    ):
        upscaler(torch.full_like(x, 0.5) if upscaler.policy.flat else x)
        assert upscaler._again == {}
