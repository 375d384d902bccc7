"""Stitching is exact, batching changes nothing, memory is bounded, and the ways to compute agree."""

import resource
import sys
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_networks import Bicubic, Nearest, OneNetwork, Pixelwise
from torch import nn

from wbsr_arch import Supernet
from wbsr_base.devices import keep_freed_blocks
from wbsr_models import EngineSettings
from wbsr_models.inference.memory import MEGABYTE, Memory, _LiveBytes, bytes_per_pixel
from wbsr_models.inference.planner import TilePlan
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.tile_runner import TileRunner
from wbsr_models.inference.tiling import plan_tiles

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
COSTS = [1.0, 1.5, 2.0, 4.0]
SIZES = [(64, 64), (65, 97), (7, 5), (1, 1), (1, 300), (3, 200), (33, 32), (100, 31)]


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(BACKBONE, widths=[4, 8], depths=[1, 2]).eval()


def random_plan(height, width, patch=16, halo=3, max_tile=64, seed=0):
    shape = (-(-height // patch), -(-width // patch))
    choice = np.random.default_rng(seed).integers(0, 4, shape)
    return whole(plan_tiles(choice, height, width, patch, halo, COSTS, max_tile))


def whole(tiles):
    return TilePlan("tiles", tuple(tiles), False)


def runner_of(network, **options):
    options = EngineSettings(**options)
    return TileRunner(NetworkPool(network, options), Memory(network, options))


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_windows_of_one_channel_become_colours_in_every_mode(mode):
    class Coloured(Nearest):
        def forward(self, x):
            return super().forward(torch.cat([x, 2 * x, 3 * x], 1))

    x, network = torch.rand(1, 100, 90), OneNetwork(Coloured())
    with mode():
        found = runner_of(network)(x, random_plan(100, 90))
    assert torch.equal(found, Coloured()(x[None])[0])


@pytest.mark.usefixtures("three_threads")
def test_each_thread_finds_two_batches_which_fit_into_the_memory_together(supernet):
    x, sizes = torch.rand(3, 96, 96), []
    plan = TilePlan("tiles", tuple(plan_tiles(np.full((6, 6), 3), 96, 96, 16, 2, COSTS, 16)), False)
    runner = runner_of(supernet, halo=2)
    run = runner._run
    runner._run = lambda image, batch: sizes.append(batch.pixels) or run(image, batch)
    for memory_mb in (64, runner.memory._beside(x) / MEGABYTE + 1500 * runner.memory._need(x) / MEGABYTE):
        runner.memory = Memory(supernet, EngineSettings(memory_mb=memory_mb))
        sizes.clear()
        runner(x, plan)
        assert len(sizes) >= 6
        assert max(sizes) <= runner.memory.batch_pixels(x) // 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("memory_mb", [0.5, 64])
@pytest.mark.parametrize("interpolates", [False, True])
def test_threads_that_take_a_window_each_stitch_to_the_last_bit_within_the_memory(memory_mb, interpolates):
    now, most, used, lock = 0, 0, set(), threading.Lock()

    class Slow(Bicubic):
        def forward(self, x):
            nonlocal now, most
            with lock:
                now += x.shape[0] * x.shape[2] * x.shape[3]
                most = max(most, now)
                used.add(threading.get_ident())
            time.sleep(0.01)
            assert torch.get_num_threads() == (3 if threading.current_thread() is threading.main_thread() else 1)
            with lock:
                now -= x.shape[0] * x.shape[2] * x.shape[3]
            return super().forward(x)

    x = torch.rand(3, 100, 90)
    runner = runner_of(OneNetwork(Slow()), memory_mb=memory_mb)
    tiles = [tile for tile in random_plan(100, 90).tiles if not interpolates or tile.top > 0]
    expected = Bicubic()(x[None].contiguous(memory_format=torch.channels_last))[0]
    room, most = runner.memory.batch_pixels(x), 0
    used.clear()
    found = runner(x, TilePlan("tiles", tuple(tiles), interpolates))
    assert torch.equal(found[:, 40:], expected[:, 40:])
    assert most <= room
    assert len(used - {threading.get_ident()}) == (0 if memory_mb < 1 else 3)  # which looks for heads itself


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("network", "halo"), [(Nearest(), 0), (Nearest(), 3), (Bicubic(), 3), (Bicubic(), 5)])
def test_a_predictor_of_known_answer_is_stitched_to_the_last_bit(size, network, halo):
    x = torch.rand(3, *size)
    found = runner_of(OneNetwork(network))(x, random_plan(*size, halo=halo))
    expected = network(x[None].contiguous(memory_format=torch.channels_last))[0]
    assert torch.equal(found, expected)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 80),
    st.integers(1, 80),
    st.integers(1, 30),
    st.integers(3, 6),
    st.integers(1, 90),
    st.integers(0, 99),
)
def test_any_plan_is_stitched_to_the_last_bit(height, width, patch, halo, max_tile, seed):
    x = torch.rand(3, height, width)
    found = runner_of(OneNetwork(Bicubic()))(x, random_plan(height, width, patch, halo, max_tile, seed))
    assert torch.equal(found, Bicubic()(x[None].contiguous(memory_format=torch.channels_last))[0])


def test_a_halo_too_small_is_seen():
    """The exactness above is the halo's work."""
    x = torch.rand(3, 64, 64)
    assert not torch.equal(runner_of(OneNetwork(Bicubic()))(x, random_plan(64, 64, halo=1)), Bicubic()(x[None])[0])


@pytest.mark.parametrize("size", SIZES)
def test_a_purely_local_network_equals_its_dense_run(size):
    x, network = torch.rand(3, *size), Pixelwise()
    with torch.no_grad():
        expected = network(x[None])[0]
    assert torch.allclose(runner_of(OneNetwork(network))(x, random_plan(*size, halo=0)), expected, atol=1e-6)


def test_a_halo_as_wide_as_the_receptive_field_gives_the_dense_run(supernet):
    x = torch.rand(3, 70, 50)
    tiles = plan_tiles(np.full((5, 4), 3), 70, 50, 16, 12, [1.0, 1.0, 1.0, 1.0], 16, 0)
    assert len(tiles) > 1
    with torch.no_grad():
        assert torch.allclose(runner_of(supernet)(x, whole(tiles)), supernet(x[None])[0], atol=1e-5)


def test_a_grouped_run_equals_a_run_one_by_one(supernet):
    x, plan = torch.rand(3, 90, 120), random_plan(90, 120, max_tile=16)
    grouped, single = runner_of(supernet), runner_of(supernet, batch_pixels=1)
    assert torch.allclose(grouped(x, plan), single(x, plan), atol=1e-6)
    reverse = grouped(x, whole(plan.tiles[::-1]))
    assert torch.allclose(reverse, single(x, plan), atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_and_the_canvas_keeps_the_images_type(supernet, precision):
    x, tiles = torch.rand(3, 40, 40), random_plan(40, 40)
    exact, found = runner_of(supernet)(x, tiles), runner_of(supernet, precision=precision)(x, tiles)
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    assert torch.allclose(found, exact, atol=0.02)


def test_a_self_ensemble_is_the_mean_over_flips_and_turns(supernet):
    x = torch.rand(3, 24, 30)
    (tile,) = plan_tiles(np.full((1, 1), 3), 24, 30, 32, 0, COSTS, 32)
    outputs = []
    with torch.no_grad():
        for transpose in (False, True):
            for dims in ((), (1,), (2,), (1, 2)):
                y = x.flip(dims).transpose(1, 2) if transpose else x.flip(dims)
                y = supernet(y[None])[0]
                outputs.append(y.transpose(1, 2).flip(dims) if transpose else y.flip(dims))
    found = runner_of(supernet, self_ensemble=True)(x, whole([tile]))
    assert torch.allclose(found, torch.stack(outputs).mean(0), atol=1e-5)
    assert not torch.allclose(found, outputs[0], atol=1e-5)


def test_a_self_ensemble_of_a_network_without_direction_changes_nothing():
    x = torch.rand(3, 40, 56)
    found = runner_of(OneNetwork(Nearest()), self_ensemble=True)(x, random_plan(40, 56))
    assert torch.allclose(found, Nearest()(x[None])[0], atol=1e-6)


def test_compiling_is_passed_on(supernet, monkeypatch):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: asked.append(options))
    pool = runner_of(supernet, capture="compile").pool
    assert [pool.network(0), pool.network(0)] == [pool.network(0)] * 2
    runner_of(supernet).pool.network(0)
    assert asked == [{"dynamic": True}]


def test_compiling_is_announced_once(supernet, monkeypatch, caplog):
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: None)
    pool = runner_of(supernet, capture="compile").pool
    for number in (0, 1, 0):
        pool.network(number)
    assert [record.getMessage()[:28] for record in caplog.records] == ["torch compiles each network "]


def test_a_network_is_extracted_once(supernet):
    pool = runner_of(supernet).pool
    assert pool.network(1) is pool.network(1)


def test_bytes_per_pixel_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 10, 1), nn.Conv2d(10, 20, 1), nn.Conv2d(20, 2, 1))
    # while the second convolution runs, its input and its output are alive: 10 + 20 channels of 4 bytes; while the
    # third does, 20 + 2
    assert bytes_per_pixel(network) == pytest.approx(1.5 * 4 * 30)


def test_memory_bounds_tiles_and_batches(supernet):
    x = torch.rand(3, 256, 256)
    result = 3 * 512 * 512 * 4 * (18 / 16) ** 2 / MEGABYTE  # the canvas, and at most so much of rims
    need = bytes_per_pixel(supernet.extract(), 3) / MEGABYTE
    runner = runner_of(supernet, memory_mb=result + need * 50**2)
    assert runner.memory.window_pixels(x, 16) == pytest.approx(50**2, abs=1)
    sizes = []
    run = runner._run
    runner._run = lambda image, batch: sizes.append(batch.pixels) or run(image, batch)
    plan = random_plan(256, 256, max_tile=16)
    runner(x, plan)
    room = runner.memory.batch_pixels(x, sum(tile.rim_area for tile in plan.tiles) / 256**2)
    assert 50**2 <= room < 60**2
    assert room / 2 < max(sizes) <= room


@pytest.mark.parametrize("patch", [8, 16, 32])
def test_what_lives_at_a_time_is_within_the_memory_rims_included(supernet, patch):
    x = torch.rand(3, 256, 256)
    with pytest.raises(ValueError, match="memory_mb must be at least") as caught:
        runner_of(supernet, memory_mb=1, plan="tiles").memory.window_pixels(x, patch)
    enough = int(str(caught.value).split("at least ")[1].split()[0])
    runner = runner_of(supernet, memory_mb=enough, plan="tiles")
    plan = random_plan(256, 256, patch, halo=3, max_tile=patch)
    runner(x, plan)  # makes the networks
    with _LiveBytes() as live:
        runner(x, plan)
    assert live.peak <= 1.1 * enough * MEGABYTE


def test_too_little_memory_is_refused_with_what_is_enough(supernet):
    x = torch.rand(3, 256, 256)
    with pytest.raises(ValueError, match=r"memory_mb must be at least \d+ for an LR image of 256 x 256") as caught:
        runner_of(supernet, memory_mb=1).memory.window_pixels(x, 16)
    enough = int(str(caught.value).split("at least ")[1].split()[0])
    assert runner_of(supernet, memory_mb=enough).memory.window_pixels(x, 16) >= 24**2


def test_by_default_a_large_image_only_makes_the_canvas_larger(supernet):
    huge = torch.empty(3, 1, 1).expand(3, 40_000, 40_000)
    assert runner_of(supernet, halo=2).memory.window_pixels(huge, 16) >= 20**2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "half"}, "precision must be one of fp32, bf16, fp16, got 'half'"),
        ({"memory_mb": 0}, "memory_mb must be above 0, got 0"),
        ({"memory_mb": float("nan")}, "memory_mb must be above 0, got nan"),
        ({"canvas_device": "gpu"}, "canvas_device must be one of auto, cpu, same, got 'gpu'"),
        ({"batch_pixels": 0}, "batch_pixels must be a whole number of at least 1, got 0"),
        ({"halo": -1}, "halo must be a whole number of at least 0, got -1"),
        ({"max_tile": 0}, "max_tile must be a whole number of at least 1, got 0"),
        ({"halo": 2.5}, "halo must be a whole number of at least 0, got 2.5"),
        ({"plan": "fast"}, "plan must be one of auto, tiles, windows, dense, got 'fast'"),
        ({"capture": "on"}, "capture must be one of auto, none, graphs, compile, got 'on'"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        EngineSettings(**change)


def test_float32_is_another_word_for_fp32():
    assert EngineSettings(precision="float32") == EngineSettings(precision="fp32") == EngineSettings()


def test_no_tile_is_refused(supernet):
    with pytest.raises(ValueError, match="there is no tile to run"):
        runner_of(supernet)(torch.rand(3, 0, 0), whole([]))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_blocks_are_kept():
    if not keep_freed_blocks():
        pytest.skip("another malloc")
    pages = 2**14  # of a block of 64 MB

    def faults(count):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(count):
            torch.empty(2**24).fill_(1.0)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults(8)  # the heap grows to where two such blocks lie
    assert faults(4) < 2 * pages


@pytest.mark.gpu
@pytest.mark.parametrize("canvas_device", ["cpu", "same"])
def test_the_canvas_may_lie_on_the_cpu_while_the_gpu_computes(supernet, canvas_device):
    x, tiles = torch.rand(3, 90, 70), random_plan(90, 70)
    expected = runner_of(supernet)(x, tiles)
    on_gpu = Supernet(BACKBONE, widths=[4, 8], depths=[1, 2])
    on_gpu.load_state_dict(supernet.state_dict())
    found = runner_of(on_gpu.cuda(), canvas_device=canvas_device)(x.cuda(), tiles)
    assert found.device.type == ("cpu" if canvas_device == "cpu" else "cuda")
    assert torch.allclose(found.cpu(), expected, atol=1e-2)


@pytest.mark.gpu
def test_a_canvas_too_large_for_the_gpu_goes_to_the_cpu(supernet):
    on_gpu = Supernet(BACKBONE, widths=[4, 8], depths=[1, 2]).cuda()
    canvas = 3 * 512 * 512 * 4 / MEGABYTE
    found = runner_of(on_gpu, memory_mb=1.5 * canvas)(torch.rand(3, 256, 256).cuda(), random_plan(256, 256))
    assert found.device.type == "cpu"
