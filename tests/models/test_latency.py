"""Times are measured once per device and setting, kept, and measured again when they can't be read."""

import json
import logging
import math
import time
import weakref

import pytest
import torch

from wbsr_arch import Supernet
from wbsr_models import DynamicUpscaler, EngineSettings, Profile, Routing
from wbsr_models.inference import latency, timing
from wbsr_models.inference.costs import SIDES, costs_by_work
from wbsr_models.inference.measured import Shape, Timings, costs_by_time
from wbsr_models.inference.pool import NetworkPool

BACKBONE = {"type": "MSRResNet", "num_feat": 32, "num_block": 8, "upscale": 2}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return Supernet(BACKBONE, widths=[4, 32], depths=[1, 8]).eval()


def pool_of(network, **options):
    return NetworkPool(network, EngineSettings(**options))


def timings_of(subnets=4):
    seconds = tuple(0.5 * (number + 1) for number in range(subnets))
    moving = (100.0, 1.0), (200.0, 2.0)
    return Timings({Shape(0, 10): seconds, Shape(1, 10, 2): seconds}, {Shape(1, 10, 2): seconds}, moving)


@pytest.fixture
def counted(monkeypatch):
    """Replaces the stopwatch by numbers, and counts the measurements."""
    calls = []

    def fake(pool, device, patch_size, max_pixels):
        calls.append((str(device), pool.settings.precision, patch_size))
        return timings_of(len(pool.source.subnets))

    monkeypatch.setattr(latency, "time_calls", fake)
    return calls


def measure(network, folder, patch_size=32, **options):
    return latency.measured_costs(pool_of(network, **options), CPU, patch_size, 10**6, folder)


def test_larger_subnets_take_longer(supernet):
    times = timing.time_subnets(supernet, CPU)
    assert len(times) == 4
    assert all(seconds > 0 for seconds in times)
    assert times[-1] > 2 * times[0]  # 20 times the FLOPs


def test_a_time_is_that_of_one_pixel(supernet, monkeypatch):
    monkeypatch.setattr(timing, "_call", lambda network, window: 0.004096)
    assert timing.time_subnets(supernet, CPU) == pytest.approx([1e-6] * 4)


def test_what_is_measured_tells_larger_calls_and_subnets(supernet):
    costs = costs_by_time(timing.time_calls(pool_of(supernet), CPU, 16), supernet, CPU, by_graphs=True)
    assert costs.measured
    assert costs.captured == (0.0,) * 4
    for curves in (costs.dense, costs.tiles, *costs.windows.values()):
        # the full network is six times as dear as the cheapest, and so many pixels 64 times as many: machines are noisy
        assert float(curves[-1](512**2)) > float(curves[0](512**2)) > 0
        assert float(curves[-1](512**2)) > 2 * float(curves[-1](64**2))


def test_a_measurement_keeps_its_time_and_shows_its_progress(supernet, caplog, capsys, monkeypatch):
    """What takes too long is left out, and the curves go on as lines; the smallest calls are always timed."""
    called = []

    def slow(network, batch):
        called.append(batch.shape)
        time.sleep(1e-6 * batch.shape[0] * batch.shape[2] * batch.shape[3])
        return 1e-6 * batch.shape[0] * batch.shape[2] * batch.shape[3]

    monkeypatch.setattr(timing, "_call", slow)
    start = time.perf_counter()
    with caplog.at_level(logging.INFO):
        timings = timing.time_calls(pool_of(supernet), CPU, 32, limit=0.5)
    assert time.perf_counter() - start < 1.5
    assert "Timing the subnets on cpu, once" in caplog.text
    assert "timing the subnets" in capsys.readouterr().err
    assert max(shape[2] for shape in called) < 256
    costs = costs_by_time(timings, supernet, CPU, by_graphs=True)
    assert float(costs.dense[0](256**2)) == pytest.approx(1e-6 * 256**2)
    assert set(costs.windows) == set(SIDES)


def test_graphs_of_all_shapes_are_timed_and_share_memory_with_living_ones_alone(supernet, monkeypatch):
    """As torch does, memory that graphs have shared is refused once all of them are gone."""

    class Graphs:
        def __init__(self):
            self.made = []

        def __call__(self, network, batch):
            if self.made and not any(made() for made in self.made):
                raise RuntimeError("use_count > 0 INTERNAL ASSERT FAILED")

            def run(other):
                return network(other)

            self.made.append(weakref.ref(run))
            return run

    monkeypatch.setattr(timing, "Graphs", Graphs)
    monkeypatch.setattr(timing, "_can_capture", lambda device: True)
    monkeypatch.setattr(timing, "_call", lambda network, batch: 1e-3)
    timings = timing.time_calls(pool_of(supernet), CPU, 16)
    assert set(timings.graphs) == {shape for shape in timings.calls if shape.patches}
    assert len(timings.graphs) > 2


def test_what_windows_cost_beside_networks_is_measured(supernet):
    (few, short), (many, long) = timing.time_moving(pool_of(supernet), CPU, 16)
    assert (few, many) == (48**2, 192**2)
    assert 0 < short < long


def test_on_a_cpu_batches_are_as_large_as_was_measured_on_a_gpu_as_large_as_fits(supernet):
    timings = timings_of()
    assert costs_by_time(timings, supernet, CPU, by_graphs=False).batch_pixels == 200
    assert costs_by_time(timings, supernet, torch.device("cuda"), by_graphs=False).batch_pixels == math.inf


def test_larger_calls_than_fit_are_not_timed(supernet, monkeypatch):
    called = []
    monkeypatch.setattr(timing, "_call", lambda network, batch: called.append(batch.shape) or 0.1)
    timing.time_calls(pool_of(supernet), CPU, 16, max_pixels=5000)
    assert max(shape[0] * shape[2] * shape[3] for shape in called) <= 5000


def test_graphs_are_chosen_by_size_where_they_pay(supernet):
    """Of two shapes, a graph pays for the small one under the first subnet, for both under the second."""
    small, large = Shape(1, 40, 2), Shape(1, 40, 60)
    calls = {Shape(0, 64): (1.0,) * 4, small: (2.0,) * 4, large: (9.0,) * 4}
    timings = Timings(calls, {small: (1.0, 1.0, 1.99, 3.0), large: (9.0, 8.0, 8.9, 9.9)}, ((1.0, 1.0),))
    costs = costs_by_time(timings, supernet, CPU, by_graphs=True)
    assert costs.captured == (small.pixels, math.inf, 0.0, 0.0)
    assert [float(curve(small.pixels)) for curve in costs.windows[1]] == [1.0, 1.0, 2.0, 2.0]
    assert [float(curve(large.pixels)) for curve in costs.windows[1]] == [9.0, 8.0, 9.0, 9.0]
    without = costs_by_time(timings, supernet, CPU, by_graphs=False)
    assert without.captured == (0.0,) * 4
    assert [float(curve(small.pixels)) for curve in without.windows[1]] == [2.0] * 4


def test_compiled_networks_are_taken_to_gain_what_the_full_one_does(supernet, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: setattr(self, "is_compiled", True))
    compiled = []

    def fake(network, batch):
        is_wide = network.body[0].conv1.weight.shape[0] > 4
        seconds = 1e-6 * batch.shape[0] * batch.shape[2] * batch.shape[3] * (1.0 if is_wide else 0.5)
        if getattr(network, "is_compiled", False):
            compiled.append(network)
            return seconds / (2 if batch.shape[2] % 64 == 0 else 4)  # dense runs, windows
        return seconds

    monkeypatch.setattr(timing, "_call", fake)
    for _ in range(2):
        costs = measure(supernet, tmp_path, 16, capture="compile")
        assert len({id(network) for network in compiled}) == 1
        assert [float(curve(10**6)) for curve in costs.dense] == pytest.approx([0.25, 0.25, 0.5, 0.5])
        assert [float(curve(10**6)) for curve in costs.windows[4]] == pytest.approx([0.125, 0.125, 0.25, 0.25])
    plain = measure(supernet, tmp_path, 16)
    assert [float(curve(10**6)) for curve in plain.dense] == pytest.approx([0.5, 0.5, 1.0, 1.0])
    assert len(list(tmp_path.iterdir())) == 2  # the times, and what compiling gains


def test_times_are_measured_once_per_setting(supernet, counted, tmp_path):
    first = measure(supernet, tmp_path)
    assert measure(supernet, tmp_path) == first == costs_by_time(timings_of(), supernet, CPU, by_graphs=True)
    assert measure(supernet, tmp_path, capture="none").captured == (0.0,) * 4
    assert measure(supernet, tmp_path, capture="graphs").captured == (math.inf,) * 4
    assert counted == [("cpu", "fp32", 32)]
    others = {"precision": "bf16", "halo": 3, "self_ensemble": True, "patch_size": 48}
    for change in ({name: value} for name, value in others.items()):
        measure(supernet, tmp_path, **change)
        measure(supernet, tmp_path, **change)
    assert len(counted) == 5
    other = Supernet({**BACKBONE, "num_feat": 16}, widths=[4, 16], depths=[1, 8])
    measure(other, tmp_path)
    assert len(counted) == 6
    assert len(list(tmp_path.iterdir())) == 6


def test_another_number_of_threads_is_another_device(supernet, counted, tmp_path, monkeypatch):
    measure(supernet, tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    measure(supernet, tmp_path)
    assert len(counted) == 2


def test_networks_of_one_channel_are_timed_on_one(tmp_path):
    grey = {"num_in_ch": 1, "num_out_ch": 1, "num_feat": 4, "num_block": 1}
    network = Supernet({**BACKBONE, **grey}, widths=[2, 4], depths=[1])
    assert len(measure(network, tmp_path, 8).dense) == 2


DAMAGED = [
    "",
    "[]",
    '{"seconds_per_pixel": [1.0]}',
    json.dumps(timings_of(3).plain()),
    json.dumps(timings_of().plain()).replace("0.5", "0.0"),
    json.dumps({**timings_of().plain(), "calls": timings_of().plain()["calls"][1:]}),
    json.dumps({"calls": timings_of().plain()["calls"]}),
    json.dumps(timings_of().plain()["calls"]),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_measured_again(supernet, counted, tmp_path, caplog, content):
    first = measure(supernet, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert measure(supernet, tmp_path) == first
    assert "measuring again" in caplog.text
    assert Timings.of_plain(json.loads(path.read_text()), 4) == timings_of()


def test_a_folder_that_cannot_be_written_only_costs_the_cache(supernet, counted, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert measure(supernet, tmp_path / "file" / "folder").measured
    assert "The times are not kept" in caplog.text


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert latency.cache_folder() == tmp_path / "wbsr"


def test_a_budget_in_time_is_measured_and_kept_on_a_cpu(supernet, monkeypatch, tmp_path):
    """Nothing replaced: the predicted time of the plan is at most the budget of the dense run's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = torch.rand(3, 100, 130) * torch.linspace(0, 1, 130)
    policy = Routing("budget", 0.7, cost="latency")
    upscaler = DynamicUpscaler(supernet, Profile(16, (0.05, 0.1, 0.2)), policy)
    _, report = upscaler(x)
    assert report.why[report.plan] <= 0.7 * float(upscaler.costs.dense[-1](100 * 130))
    assert len(list((tmp_path / "wbsr").iterdir())) == 1


def test_by_work_calls_cost_what_their_operators_and_their_pixels_cost(supernet):
    costs = costs_by_work(supernet, CPU)
    work = list(supernet.work.values())
    assert costs.per_pixel[3] / costs.per_pixel[0] == pytest.approx(work[3] / work[0])
    assert costs.per_call[3] / costs.per_call[0] == pytest.approx(
        supernet.calls[supernet.full] / supernet.calls[supernet.subnets[0]]
    )
    assert costs.shares(10**9)[-1] == 1


@pytest.mark.gpu
def test_a_gpu_is_measured_in_time_and_chooses(supernet, tmp_path):
    gpu = Supernet(BACKBONE, widths=[4, 32], depths=[1, 8]).cuda().eval()
    start = time.perf_counter()
    for precision in ("fp32", "fp16"):
        costs = latency.measured_costs(pool_of(gpu, precision=precision), torch.device("cuda"), 32, 2**18, tmp_path)
        assert costs.captured[0] > 0  # a few windows of a tiny network are nothing but launches
    assert time.perf_counter() - start < 45
