"""Trimming takes away work and nothing else: the tile's pixels stay, and what is computed is what the plan pays for."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wbsr_arch import Supernet
from wbsr_arch.backbone import build
from wbsr_arch.cost import count_flops, dry_run
from wbsr_models import DynamicUpscaler, EngineSettings
from wbsr_models.inference.memory import Memory
from wbsr_models.inference.planner import TilePlan
from wbsr_models.inference.pool import NetworkPool
from wbsr_models.inference.tile_runner import TileRunner
from wbsr_models.inference.tiling import FADE, Tile, plan_tiles
from wbsr_models.inference.trimming import NO_MARGINS, WHOLE, Head, find_head, same_head, trim

COLOURS = {"num_in_ch": 3, "num_out_ch": 3}
BACKBONES = {
    "MSRResNet x2": {"type": "MSRResNet", "num_feat": 6, "num_block": 2, "upscale": 2},
    "MSRResNet x3": {"type": "MSRResNet", "num_feat": 6, "num_block": 2, "upscale": 3},
    "MSRResNet x4": {"type": "MSRResNet", "num_feat": 6, "num_block": 2, "upscale": 4},
    "EDSR x2": {"type": "EDSR", "num_feat": 6, "num_block": 1, "upscale": 2, **COLOURS},
    "EDSR x3": {"type": "EDSR", "num_feat": 6, "num_block": 1, "upscale": 3, **COLOURS},
    "EDSR x8": {"type": "EDSR", "num_feat": 6, "num_block": 1, "upscale": 8, **COLOURS},
    "RCAN x4": {
        "type": "RCAN",
        "num_feat": 8,
        "num_group": 1,
        "num_block": 1,
        "squeeze_factor": 4,
        "upscale": 4,
        **COLOURS,
    },
    "LRResNet x4": {"type": "LRResNet", "num_feat": 6, "num_block": 2, "upscale": 4},
    "SRVGGNetCompact x4": {"type": "SRVGGNetCompact", "num_feat": 6, "num_conv": 2, "upscale": 4},
    "RRDBNet x4": {"type": "RRDBNet", "num_feat": 6, "num_block": 1, "num_grow_ch": 4, "scale": 4, **COLOURS},
}
# of a tile inside the image, at an edge, in a corner, near an edge that ends the halo early, and of the whole image
MARGINS = [(3, 3, 3, 3), (0, 3, 3, 3), (3, 0, 0, 3), (3, 1, 2, 3), (0, 0, 3, 3), NO_MARGINS, (1, 1, 1, 1), (9, 4, 0, 2)]


def network_of(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(BACKBONES[name]).eval().requires_grad_(False)


def tile_of(output, margins, scale):
    top, bottom, left, right = (side * scale for side in margins)
    return output[..., top : output.shape[-2] - bottom, left : output.shape[-1] - right]


@pytest.mark.parametrize("margins", MARGINS)
@pytest.mark.parametrize("name", BACKBONES)
def test_a_trimmed_network_gives_the_same_tile_in_an_output_of_the_same_size(name, margins):
    network = network_of(name).double()
    head = find_head(network)
    top, bottom, left, right = margins
    window = torch.rand(2, 3, 7 + top + bottom, 5 + left + right, dtype=torch.float64)
    whole, trimmed = network(window), trim(network, head.stages, margins)(window)
    scale = whole.shape[-1] // window.shape[-1]
    assert trimmed.shape == whole.shape
    found, expected = tile_of(trimmed, margins, scale), tile_of(whole, margins, scale)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("name", BACKBONES)
def test_every_upsampling_network_has_a_head_whose_margins_fall(name):
    head = find_head(network_of(name))
    margins = [stage.margin / stage.scale for stage in head.stages]
    assert margins == sorted(margins, reverse=True)
    assert margins[-1] == 0
    assert sum(head.parts.values()) == pytest.approx(1)


def test_margins_of_srresnet_by_hand():
    """conv_last needs 1 pixel of conv_hr, which needs 1 more; 2 at x4 are 1 at x2, and so on down to the input."""
    stages = find_head(network_of("MSRResNet x4")).stages
    assert [(s.name, s.scale, s.radius, s.margin) for s in stages] == [
        ("upconv1", 1, 1, 1),
        ("upconv2", 2, 1, 1),
        ("conv_hr", 4, 1, 1),
        ("conv_last", 4, 1, 0),
    ]


@pytest.mark.parametrize("margins", MARGINS)
@pytest.mark.parametrize("name", BACKBONES)
def test_what_a_tile_is_said_to_compute_is_what_the_operator_counter_counts(name, margins):
    network, size = network_of(name), 40
    head = find_head(network)
    top, bottom, left, right = margins
    tile = Tile(0, top, size - bottom, left, size - right, 0, 0, size, size)
    counted = dry_run(trim(network, head.stages, tile.margins), size=size).flops
    expected = dry_run(network).flops / 32**2 * tile.computed_area(head.parts)
    # RCAN's attention runs on one pixel, however large the window is
    assert counted == pytest.approx(expected, rel=1e-4 if "RCAN" in name else 1e-12)
    if sum(tile.margins):
        assert counted < dry_run(network, size=size).flops


class InHead(nn.Module):
    """An upsampling network with something between the convolutions behind its shuffle."""

    def __init__(self, change):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.up, self.a, self.b = nn.Conv2d(3, 12, 3, 1, 1), nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 3, 1, 1)
        self.change = change

    def forward(self, x):
        return self.change(self.a, self.b, F.pixel_shuffle(self.up(x), 2))


class Reflecting(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Conv2d(3, 12, 3, 1, 1, padding_mode="reflect")

    def forward(self, x):
        return F.pixel_shuffle(self.up(x), 2)


def softmax_over_window(x):
    return x.flatten(2).softmax(2).view_as(x)


CANNOT = {
    "a bypass inside the head": InHead(lambda a, b, x: b(x + a(x))),
    "a layer that runs twice": InHead(lambda a, b, x: a(a(x))),
    "attention over the whole window": InHead(lambda a, b, x: b(softmax_over_window(a(x)))),
    "a bilinear step at the end": InHead(lambda a, b, x: F.interpolate(b(a(x)), scale_factor=2, mode="bilinear")),
    "a resolution that is no multiple of the one before": InHead(
        lambda a, b, x: b(F.interpolate(a(x), scale_factor=1.5))
    ),
    "borders that are no zeros": Reflecting(),
    "no convolution": nn.Upsample(scale_factor=2),
}


@pytest.mark.parametrize("what", CANNOT)
def test_a_network_that_would_change_is_left_whole_and_says_so(what, caplog):
    with caplog.at_level(logging.DEBUG):
        head = find_head(CANNOT[what])
    assert "can't be trimmed" in caplog.text
    assert head == Head()
    assert head.parts == WHOLE
    assert trim(CANNOT[what], head.stages, (3, 3, 3, 3)) is CANNOT[what]


def test_a_trimmed_network_shares_its_weights_and_leaves_the_whole_one_as_it_was():
    network = network_of("EDSR x2")
    x = torch.rand(1, 3, 9, 9)
    before = network(x)
    trimmed = trim(network, find_head(network).stages, (1, 2, 3, 0))
    assert {id(p) for p in trimmed.parameters()} == {id(p) for p in network.parameters()}
    assert torch.equal(network(x), before)
    assert trimmed.body is network.body


@pytest.mark.parametrize("name", BACKBONES)
def test_a_head_holds_for_other_widths_and_depths_or_is_looked_for_again(name):
    depth = {"SRVGGNetCompact": "num_conv"}.get(BACKBONES[name]["type"], "num_block")
    small, large = network_of(name), build({**BACKBONES[name], "num_feat": 16, depth: 3}).eval()
    expected = find_head(large)
    found = same_head(find_head(small), large, count_flops(large) / 32**2)
    if name == "SRVGGNetCompact x4":  # numbers its last layer by the depth
        assert found is None
    else:
        assert found.stages == expected.stages
        assert found.parts == pytest.approx(expected.parts)


def test_a_head_is_not_taken_over_by_a_network_with_other_layers():
    head = find_head(network_of("MSRResNet x4"))
    assert same_head(head, network_of("MSRResNet x2"), 1.0) is None
    wider = network_of("MSRResNet x4")
    wider.conv_hr = nn.Conv2d(6, 6, 5, padding=2)
    assert same_head(head, wider, 1.0) is None
    wider.conv_hr = nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")
    assert same_head(head, wider, 1.0) is None
    assert same_head(Head(), wider, 1.0) == Head()


def test_a_head_is_looked_for_once_for_all_subnets(supernet, monkeypatch):
    looked = []
    monkeypatch.setattr(
        "wbsr_models.inference.pool.find_head", lambda *arguments: looked.append(1) or find_head(*arguments)
    )
    pool = NetworkPool(supernet, EngineSettings())
    heads = [pool.head(index) for index in range(4)]
    assert len(looked) == 1
    assert heads == [find_head(supernet.extract(subnet)) for subnet in supernet.subnets]


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(BACKBONES["MSRResNet x4"], widths=[4, 6], depths=[1, 2]).eval()


def random_plan(size, halo):
    choice = np.random.default_rng(0).integers(0, 4, tuple(-(-side // 16) for side in size))
    return TilePlan("tiles", tuple(plan_tiles(choice, *size, 16, halo, [1.0, 1.5, 2.0, 4.0], 48)), False)


def runner_of(network, **options):
    settings = EngineSettings(**options)
    return TileRunner(NetworkPool(network, settings), Memory(network, settings))


@pytest.mark.parametrize("halo", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("size", [(64, 80), (65, 97), (34, 33), (1, 1), (1, 100), (5, 3)])
def test_an_image_run_by_trimmed_networks_is_the_image_run_by_whole_ones(supernet, monkeypatch, size, halo):
    x, plan = torch.rand(3, *size), random_plan(size, halo)
    found = runner_of(supernet)(x, plan)
    monkeypatch.setattr("wbsr_models.inference.pool.find_head", lambda network, in_channels: Head())
    assert torch.allclose(found, runner_of(supernet)(x, plan), atol=1e-6)


def test_grey_images_are_run_by_trimmed_networks():
    grey = {**BACKBONES["SRVGGNetCompact x4"], "num_in_ch": 1, "num_out_ch": 1}
    supernet = Supernet(grey, widths=[6], depths=[2], depth_arg="num_conv").eval()
    runner = runner_of(supernet)
    (tile,) = plan_tiles(np.zeros((1, 1), int), 12, 9, 16, 3, [1.0], 16)
    assert runner(torch.rand(1, 12, 9), TilePlan("tiles", (tile,), False)).shape == (1, 48, 36)
    assert runner.pool.head(0).stages


@pytest.mark.parametrize("change", [{"capture": "compile"}, {"self_ensemble": True}])
def test_compiled_networks_and_self_ensembles_run_whole(supernet, monkeypatch, change):
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: None)
    assert NetworkPool(supernet, EngineSettings(**change)).head(1) == Head()
    assert NetworkPool(supernet, EngineSettings()).head(1).stages


def test_trimmed_networks_run_in_half_precision(supernet):
    x, plan = torch.rand(3, 60, 40), random_plan((60, 40), 3)
    found, exact = runner_of(supernet, precision="bf16")(x, plan), runner_of(supernet)(x, plan)
    assert torch.allclose(found, exact, atol=0.02)


def test_the_report_counts_what_trimmed_networks_compute(supernet):
    """An image of one patch by two: both tiles have 3 pixels of halo on one side."""
    upscaler = DynamicUpscaler(supernet, 16, "full", EngineSettings(plan="tiles", halo=3, max_tile=16))
    _, report = upscaler(torch.rand(3, 16, 32))
    head = find_head(supernet.extract())
    pixels = sum(share * 2 * 16 * (16 + min(margin + FADE, 3)) for margin, share in head.parts.items())
    assert report.flops_share_run == pytest.approx(pixels / (16 * 32))
    assert 1 < report.flops_share_run < 19 / 16
