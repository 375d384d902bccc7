"""Windows give what a dense run gives, for every size, in few calls, few operators, and without waiting."""

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from host_reads import Reads
from hypothesis import given, settings
from hypothesis import strategies as st
from known_networks import Bicubic, Nearest, OneNetwork, Pixelwise
from torch.utils._python_dispatch import TorchDispatchMode

from wbsr_arch import ClassSR, Supernet
from wbsr_arch.traits import reach
from wbsr_models import DynamicUpscaler, EngineSettings, Profile, Routing
from wbsr_models.inference import restoring
from wbsr_models.inference.capture import Captures
from wbsr_models.inference.costs import SIDES, CostModel
from wbsr_models.inference.curve import Curve
from wbsr_models.inference.memory import MEGABYTE, Memory, _LiveBytes, bytes_per_pixel
from wbsr_models.inference.planner import Request
from wbsr_models.inference.pool import Interpolation, NetworkPool
from wbsr_models.inference.timing import _Nothing
from wbsr_models.inference.window_planner import WindowPlan, WindowPlanner
from wbsr_models.inference.window_runner import WindowRunner
from wbsr_models.inference.windows import Layout
from wbsr_models.routing import flat as flat_module
from wbsr_models.routing import look as look_module
from wbsr_models.routing.edge_table import EdgeTable

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
NINE = {"type": "MSRResNet", "num_feat": 8, "num_block": 3, "upscale": 2}
SIZES = [(64, 64), (65, 97), (7, 5), (1, 1), (1, 300), (3, 200), (33, 32), (100, 31)]
LAST = 10**9


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(BACKBONE, widths=[4, 8], depths=[1, 2]).eval()


@pytest.fixture(scope="module")
def nine() -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(NINE, widths=[4, 6, 8], depths=[1, 2, 3]).eval()


def costs_of(per_pixel, per_call=0.0):
    curves = tuple(Curve.line(per_call, each) for each in per_pixel)
    return CostModel(curves, curves, dict.fromkeys(SIDES, curves), (0.0,) * len(curves), measured=True)


def plan_of(choice, height, width, patch=16, per_pixel=(1.0, 1.5, 2.0, 4.0), per_call=0.0, **options):
    request = Request(choice, height, width, costs_of(per_pixel, per_call), LAST, list)
    return WindowPlanner(patch, EngineSettings(**options))(request)


def random_plan(height, width, patch=16, halo=2, seed=0, lowest=0, **options):
    shape = (-(-height // patch), -(-width // patch))
    choice = np.random.default_rng(seed).integers(lowest, 4, shape)
    return plan_of(choice, height, width, patch, halo=halo, **options)


def runner_of(network, kind=WindowRunner, **options):
    options = EngineSettings(**options)
    return kind(NetworkPool(network, options), Memory(network, options), Captures([0.0] * 9))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("network", "halo"), [(Nearest(), 0), (Nearest(), 3), (Bicubic(), 2), (Bicubic(), 5)])
def test_a_predictor_of_known_answer_is_stitched_to_the_last_bit(size, network, halo):
    x = torch.rand(3, *size)
    found = runner_of(OneNetwork(network))(x, random_plan(*size, halo=halo))
    assert torch.equal(found, network(x[None])[0])


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 120),
    st.integers(1, 120),
    st.integers(1, 30),
    st.integers(2, 6),
    st.integers(0, 99),
    st.integers(1, 4000),
    st.floats(0, 5000),
)
def test_any_plan_is_stitched_to_the_last_bit(height, width, patch, halo, seed, batch, per_call):
    x = torch.rand(3, height, width)
    plan = random_plan(height, width, patch, halo, seed, batch_pixels=batch, per_call=per_call)
    assert torch.equal(runner_of(OneNetwork(Bicubic()))(x, plan), Bicubic()(x[None])[0])


def test_a_halo_too_small_is_seen():
    x = torch.rand(3, 64, 64)
    assert not torch.equal(runner_of(OneNetwork(Bicubic()))(x, random_plan(64, 64, halo=1)), Bicubic()(x[None])[0])


@pytest.mark.parametrize("size", SIZES)
def test_a_purely_local_network_equals_its_dense_run(size):
    x, network = torch.rand(3, *size), Pixelwise()
    with torch.no_grad():
        expected = network(x[None])[0]
    assert torch.allclose(runner_of(OneNetwork(network))(x, random_plan(*size, halo=0)), expected, atol=1e-6)


def test_a_halo_as_wide_as_the_network_looks_gives_the_dense_run(supernet):
    x, halo = torch.rand(3, 70, 100), reach(supernet.extract())
    with torch.no_grad():
        expected = supernet(x[None])[0]
    for sides in ({}, {"batch_pixels": 1}):
        plan = plan_of(np.full((5, 7), 3), 70, 100, halo=halo, **sides)
        assert len(plan.places[0].top) > 1
        assert torch.allclose(runner_of(supernet)(x, plan), expected, atol=1e-5)
    short = plan_of(np.full((5, 7), 3), 70, 100, halo=2)
    assert not torch.allclose(runner_of(supernet)(x, short), expected, atol=1e-5)


def test_patches_get_their_subnet_or_a_larger_one(supernet):
    """Each subnet writes its own number, so the canvas shows who wrote what."""
    x = torch.rand(3, 90, 120)
    runner = runner_of(supernet)
    runner.captures = lambda number, network, batch: torch.full_like(network(batch), float(number))
    choice = np.random.default_rng(1).integers(0, 4, (6, 8))
    plan = plan_of(choice, 90, 120, halo=2)
    written = runner(x, plan)[0, ::32, ::32].numpy()
    assert (written >= choice).all()
    assert (written == choice).mean() > 0.5
    assert {places.side for places in plan.places} > {1}


def test_every_output_pixel_is_written_once():
    class Counting(WindowRunner):
        times = None

        def _write(self, canvas, outputs, targets):
            if self.times is None:
                canvas.zero_()
                self.times = torch.zeros_like(canvas)
            before = canvas.clone()
            super()._write(canvas, outputs, targets)
            self.times += canvas != before

    runner = runner_of(OneNetwork(Nearest()), Counting)
    runner(torch.rand(3, 61, 83) + 1, random_plan(61, 83, halo=3))
    assert (runner.times == 1).all()


@pytest.mark.parametrize("halo", [0, 4])
def test_interpolated_patches_are_those_of_the_interpolated_image(supernet, halo):
    x, choice = torch.rand(3, 70, 100), np.full((5, 7), -1)
    whole = Interpolation(2)(x[None])[0]
    assert torch.equal(runner_of(supernet)(x, plan_of(choice, 70, 100, halo=halo)), whole)
    choice[1, 2] = 0
    found = runner_of(supernet)(x, plan_of(choice, 70, 100, halo=halo))
    differs = (found != whole).any(0)
    assert differs[32:64, 64:96].float().mean() > 0.9
    differs[32:64, 64:96] = False
    assert not differs.any()


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"self_ensemble": True}, {"batch_pixels": 700}])
def test_settings_mean_what_they_mean_for_tiles(supernet, change):
    x, choice = torch.rand(3, 48, 56), np.full((3, 4), 3)
    halo = reach(supernet.extract())
    found = runner_of(supernet, **change)(x, plan_of(choice, 48, 56, halo=halo, **change))
    change = {key: value for key, value in change.items() if key != "batch_pixels"}
    dense = DynamicUpscaler(supernet, 16, "full", EngineSettings(plan="dense", **change))(x)[0]
    assert found.dtype == torch.float32
    assert torch.allclose(found, dense, atol=1e-2 if "precision" in change else 1e-5)


def test_memory_bounds_batches(supernet):
    x = torch.rand(3, 256, 256)
    canvas = 3 * 512 * 512 * 4 / MEGABYTE
    limit = EngineSettings(memory_mb=canvas + bytes_per_pixel(supernet.extract(), 3) / MEGABYTE * 60**2, plan="windows")
    upscaler, sizes = DynamicUpscaler(supernet, 16, "full", limit), []
    run = upscaler.windows.captures

    def watched(number, network, batch):
        sizes.append(batch.shape[0] * batch.shape[2] * batch.shape[3])
        return run(number, network, batch)

    upscaler.windows.captures = watched
    sr = upscaler(x)[0]
    assert 60**2 / 2 < max(sizes) <= 60**2
    assert torch.allclose(sr, DynamicUpscaler(supernet, 16, "full", EngineSettings(plan="windows"))(x)[0], atol=1e-6)


def test_beside_the_canvas_no_second_image_is_kept_while_networks_run(nine):
    x, choice, found = torch.rand(3, 320, 480), np.full((10, 15), -1), []
    choice[3, 4] = 8
    runner, plan = runner_of(nine), plan_of(choice, 320, 480, 32, (1.0,) * 9, halo=4)
    with _LiveBytes() as live:
        runner.captures = lambda number, network, batch: found.append(live.now) or _Nothing(2)(number, network, batch)
        runner(x, plan)
    canvas = 3 * 640 * 960 * 4
    assert canvas < max(found) < 1.6 * canvas  # with the LR image, a quarter of it


def subnets_of(plan):
    """(rows, cols): which subnet writes each patch; -1 for none."""
    found = np.full((plan.layout.rows, plan.layout.cols), -1)
    for places in plan.places:
        runs = np.repeat([each.subnet for each in places.batches], [each.windows for each in places.batches])
        found[places.row, places.col] = runs[places.window]
    return found


@pytest.mark.parametrize("routing", ["classsr", "arm", "paper"])
def test_each_patch_is_what_a_dense_run_of_its_subnet_has_there(routing):
    """With a halo as wide as the networks look, whatever routes: a classifier, edges (which may ask for interpolation),
    or gradients."""
    branches = ClassSR(BACKBONE, [4, 6, 8]).eval().requires_grad_(False)
    table = EdgeTable((0.2, 0.5), ((50.0, 50.0, 50.0, 50.0), (20.0, 25.0, 25.0, 25.0), (20.0, 21.0, 22.0, 29.0)))
    profile = Profile(16, (0.1, 0.2, 0.3), edge_table=table)
    settings = EngineSettings(plan="windows", halo=reach(branches.extract()))
    policy = Routing("arm", eta=1.0) if routing == "arm" else routing
    upscaler, x = DynamicUpscaler(branches, profile, policy, settings), torch.rand(3, 90, 120)
    x = (x * torch.linspace(0, 1, 120) ** 2).round(decimals=2)
    sr, report = upscaler(x)
    assert report.plan == "windows"
    assert report.choice.tolist() == upscaler.route(x).tolist()
    wrote = subnets_of(upscaler.plan(report.choice, x))
    assert (wrote >= report.choice).all()
    assert routing == "classsr" or len(np.unique(wrote)) > 1
    assert (wrote == -1).any() == (routing == "arm")
    dense = torch.stack([Interpolation(2)(x[None])[0], *(branches(x[None], subnet)[0] for subnet in branches.subnets)])
    by_pixel = torch.from_numpy(wrote + 1).repeat_interleave(32, 0).repeat_interleave(32, 1)[:180, :240]
    assert torch.allclose(sr, dense.gather(0, by_pixel.expand(1, 3, -1, -1))[0], atol=1e-5)


class Operators(TorchDispatchMode):
    """Counts the operators that run, those within networks apart, and those by which the host reads a tensor."""

    def __init__(self, views=True):
        super().__init__()
        self.views, self.outside, self.inside, self.depth = views, Counter(), 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if self.depth:
            self.inside += 1
        elif self.views or not func.is_view:
            self.outside[str(func)] += 1
        return func(*args, **(kwargs or {}))

    @property
    def waits(self):
        return sum(self.outside[f"aten.{name}"] for name in ("_local_scalar_dense.default", "nonzero.default"))

    def of(self, network):
        """Hooks that tell when a network runs; returns what takes them off."""

        def enter(*_):
            self.depth += 1

        def leave(*_):
            self.depth -= 1

        hooks = [network.register_forward_pre_hook(enter), network.register_forward_hook(leave)]
        return lambda: [hook.remove() for hook in hooks]


@pytest.mark.parametrize("size", [(20, 24), (311, 510), (620, 1010)])
@pytest.mark.parametrize("lowest", [0, -1])
def test_an_image_takes_few_calls_and_operators_whatever_its_size(nine, monkeypatch, size, lowest):
    thresholds = tuple(np.linspace(0.02, 0.3, 8).tolist())
    upscaler = DynamicUpscaler(nine, Profile(32, thresholds), settings=EngineSettings(plan="windows"))
    x = torch.rand(3, *size) * torch.linspace(0, 1, size[1])
    choice = np.random.default_rng(0).integers(lowest, 9, (-(-size[0] // 32), -(-size[1] // 32)))
    monkeypatch.setattr(upscaler, "_choose", lambda scores: choice)
    counting, calls = Operators(), []
    for number in range(9):
        network = upscaler.pool.network(number)
        counting.of(network)
        network.register_forward_hook(lambda *_: calls.append(1))
    upscaler(x)  # the first image finds out about memory
    calls.clear()
    with counting:
        _, report = upscaler(x)
    assert report.choice.size == choice.size
    assert len(calls) <= 9 + 4 + choice.size // 160
    assert sum(counting.outside.values()) <= 150
    assert counting.waits == 0


def test_a_hundred_and_ninety_eight_patches_take_at_most_four_calls_more_than_subnets(nine):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        choice = rng.integers(0, 9, (11, 18))
        if seed % 2:  # like neighbours, as images have them
            choice = np.sort(choice, axis=None).reshape(11, 18)
        upscaler = DynamicUpscaler(nine, 32, "full", EngineSettings(plan="windows"))
        assert upscaler.plan(choice, torch.empty(3, 350, 570)).calls <= 9 + 4


@pytest.mark.parametrize("routing", ["paper", "arm", "classsr"])
def test_routing_reads_the_scores_and_nothing_else(routing):
    """One transfer brings the scores to the host, one the plan to the device; on a CPU neither is one, so what is
    looked for are reads of values and of shapes that depend on values."""
    branches = ClassSR(BACKBONE, [4, 6, 8]).eval().requires_grad_(False)
    table = EdgeTable((0.2,), ((50.0, 50.0, 50.0, 50.0), (20.0, 21.0, 22.0, 29.0)))
    policy = Routing("arm", eta=1.0) if routing == "arm" else routing
    profile = Profile(16, (0.1, 0.2, 0.3), edge_table=table)
    upscaler = DynamicUpscaler(branches, profile, policy, EngineSettings(plan="windows"))
    with Operators() as counting:
        upscaler(torch.rand(3, 170, 120))
    assert counting.waits == 0


@pytest.mark.parametrize("size", [(40, 90), (311, 510), (620, 1010)])
def test_with_flat_places_too_an_image_takes_few_operators_whatever_its_size(nine, monkeypatch, size):
    """Views, which start nothing on a device, are left out."""
    monkeypatch.setitem(restoring._PIXELS, "cpu", restoring._PIXELS["cuda"])
    profile, settings = Profile(32, tuple(np.linspace(0.02, 0.3, 8).tolist())), EngineSettings(plan="windows")
    upscaler = DynamicUpscaler(nine, profile, Routing("paper", flat=True), settings)
    monkeypatch.setattr(upscaler.windows, "captures", _Nothing(2))  # no network runs
    x = torch.rand(3, *size) * (torch.arange(size[1]) > size[1] / 2)
    assert (upscaler(x)[1].choice == -1).any()
    with Operators(views=False) as counting:
        upscaler(x)
    assert sum(counting.outside.values()) <= 150
    assert counting.waits == 0


@pytest.mark.parametrize("routing", ["paper", "arm", "classsr", "full"])
@pytest.mark.parametrize(("precision", "waits"), [("fp32", []), ("bf16", ["__bool__"])])
def test_flat_places_cost_no_wait_of_their_own(monkeypatch, routing, precision, waits):
    """Scores and flat places are sent home together, and in half precision it is read whether the result is finite; the
    clock waits once more."""
    branches = ClassSR(BACKBONE, [4, 6, 8]).eval().requires_grad_(False)
    table = EdgeTable((0.2,), ((50.0, 50.0, 50.0, 50.0), (20.0, 21.0, 22.0, 29.0)))
    settings = EngineSettings(plan="windows", precision=precision, canvas_device="same")
    profile = Profile(16, (0.1, 0.2, 0.3), edge_table=table)
    policy = Routing(routing, flat=True, **({"eta": 1.0} if routing == "arm" else {}))
    upscaler = DynamicUpscaler(branches, profile, policy, settings)
    x = torch.rand(3, 90, 120)
    x[:, 30:80, 40:] = 1
    upscaler(x)
    sent = []
    monkeypatch.setattr(upscaler.memory, "on_cpu", lambda lr: False)  # as on a GPU
    for module in (flat_module, look_module):
        monkeypatch.setattr(module, "coming", lambda tensor: sent.append(tensor) or (lambda: tensor))
    with Reads() as reads:
        sr, report = upscaler(x)
    assert (report.choice == -1).any()
    assert (sr[:, 70:150, 90:] - 1).abs().max() < 1e-6
    assert [name for name in reads.found if name != "to"] == waits
    assert len(sent) == 2


def test_trained_further_weights_are_taken_over():
    network = Supernet(BACKBONE, widths=[4, 8], depths=[1, 2]).eval()
    settings = EngineSettings(plan="windows")
    upscaler, x = DynamicUpscaler(network, 16, "w4d2", settings), torch.rand(3, 40, 40)
    before = upscaler(x)[0]
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.01
    upscaler.refresh()
    assert torch.equal(upscaler(x)[0], DynamicUpscaler(network, 16, "w4d2", settings)(x)[0])
    assert not torch.equal(upscaler(x)[0], before)


def test_what_is_computed_counts_halos_and_what_fills_up(supernet):
    plan = plan_of(np.full((5, 7), 3), 80, 112, halo=4)
    area = sum(len(places.top) * plan.layout.area(places.side) for places in plan.places)
    assert area > 80 * 112
    assert plan.computed_pixels((0.1, 0.2, 0.3, 1.0), list) == pytest.approx(area)
    report = DynamicUpscaler(supernet, 16, "full", EngineSettings(plan="windows"))(torch.rand(3, 80, 112))[1]
    assert report.flops_share == 1
    assert report.flops_share_run > 1


def test_nothing_to_do_is_refused(supernet):
    with pytest.raises(ValueError, match="there is no window to run"):
        runner_of(supernet)(torch.rand(3, 0, 0), WindowPlan(Layout(0, 0, 16, 4), (), False))


def on_gpu(network, **options):
    copy = Supernet(BACKBONE, widths=[4, 8], depths=[1, 2])
    copy.load_state_dict(network.state_dict())
    return copy.cuda()


@pytest.mark.gpu
@pytest.mark.parametrize("canvas_device", ["cpu", "same"])
@pytest.mark.parametrize("size", SIZES)
def test_windows_on_a_gpu_equal_those_on_a_cpu(supernet, size, canvas_device):
    x, plan = torch.rand(3, *size), random_plan(*size, lowest=-1)
    expected = runner_of(supernet)(x, plan)
    found = runner_of(on_gpu(supernet), canvas_device=canvas_device)(x.cuda(), plan)
    assert found.device.type == ("cpu" if canvas_device == "cpu" else "cuda")
    assert torch.allclose(found.cpu(), expected, atol=1e-3)


@pytest.mark.gpu
def test_half_precision_on_a_gpu_pads_widths_and_is_near(supernet):
    x, gpu = torch.rand(3, 90, 130), on_gpu(supernet)
    settings = EngineSettings(plan="windows", precision="fp16")
    upscaler = DynamicUpscaler(gpu, Profile(16, (0.1, 0.2, 0.3)), settings=settings)
    found = upscaler(x.cuda())[0]
    assert upscaler.pool.network(0).conv_first.weight.shape[0] == 8
    exact = DynamicUpscaler(gpu, Profile(16, (0.1, 0.2, 0.3)), settings=EngineSettings(plan="windows"))(x.cuda())[0]
    assert (found - exact).abs().max() < 0.02


@pytest.mark.gpu
@pytest.mark.parametrize("flat", [False, True])
def test_an_image_on_a_gpu_waits_three_times_at_most(nine, flat):
    gpu = Supernet(NINE, widths=[4, 6, 8], depths=[1, 2, 3]).cuda().eval()
    profile = Profile(32, tuple(np.linspace(0.02, 0.3, 8).tolist()))
    settings = EngineSettings(plan="windows", capture="none")
    upscaler = DynamicUpscaler(gpu, profile, Routing("paper", flat=flat), settings)
    x = torch.rand(3, 311, 510).cuda() * (torch.arange(510) > 255).cuda()
    upscaler(x)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            upscaler(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum("synchroniz" in str(warning.message) for warning in caught) <= 1  # the scores; the clock is not told of
