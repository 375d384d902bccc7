"""Padded widths change nothing, for every backbone that ships options, and where they would, there are none."""

import copy

import pytest
import torch

from wbsr_arch import ClassSR, Subnet, Supernet
from wbsr_arch.backbone import build
from wbsr_arch.padding import pad_widths, round_up

COLOURS = {"num_in_ch": 3, "num_out_ch": 3}
BACKBONES = {
    "MSRResNet": {"type": "MSRResNet", "num_feat": 20, "num_block": 3, "upscale": 4, **COLOURS},
    "RCAN": {"type": "RCAN", "num_feat": 36, "num_group": 2, "num_block": 2, "upscale": 4, **COLOURS},
    "EDSR": {"type": "EDSR", "num_feat": 20, "num_block": 2, "upscale": 2, "res_scale": 0.1, **COLOURS},
    "LRResNet": {"type": "LRResNet", "num_feat": 20, "num_block": 2, "upscale": 4, **COLOURS},
    "SRVGGNetCompact": {"type": "SRVGGNetCompact", "num_feat": 20, "num_conv": 3, "upscale": 4, **COLOURS},
}


def network_of(options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(options).eval().requires_grad_(False)
        for weight in network.parameters():  # no bias that is zero anyway
            weight += 0.05 * torch.randn_like(weight)
    return network


@pytest.mark.parametrize("name", BACKBONES)
def test_a_padded_network_computes_the_same(name):
    options = BACKBONES[name]
    network = network_of(options).double()
    wide = pad_widths(network, {**options, "num_feat": round_up(options["num_feat"], 8)})
    shapes = {size for weight in wide.state_dict().values() for size in weight.shape[:1]}
    assert options["num_feat"] not in shapes
    assert round_up(options["num_feat"], 8) in shapes
    x = torch.rand(2, 3, 19, 14, dtype=torch.float64)
    expected = network(x)
    assert (wide(x) - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize("name", BACKBONES)
def test_every_subnet_can_be_padded(name):
    backbone = {**BACKBONES[name], "num_feat": 32}
    depth_arg = "num_conv" if name == "SRVGGNetCompact" else "num_block"
    supernet = Supernet(backbone, [18, 26, 32], [1, backbone[depth_arg]], depth_arg=depth_arg).eval()
    x = torch.rand(1, 3, 9, 12)
    for subnet in supernet.subnets:
        wide = pad_widths(supernet.extract(subnet), supernet.options(subnet, multiple=8))
        assert torch.allclose(wide(x), supernet(x, subnet), atol=1e-5)
        if subnet.width == 32:
            assert sum(w.numel() for w in wide.parameters()) == supernet.num_parameters[subnet]


def test_type_device_and_mode_are_the_networks():
    options = BACKBONES["MSRResNet"]
    wide = pad_widths(network_of(options).half(), {**options, "num_feat": 24})
    assert {weight.dtype for weight in wide.parameters()} == {torch.float16}
    assert not wide.training
    assert not any(weight.requires_grad for weight in wide.parameters())


def test_a_network_that_is_wide_enough_is_given_back():
    network = network_of(BACKBONES["MSRResNet"])
    assert pad_widths(network, BACKBONES["MSRResNet"]) is network


def test_where_zeros_would_change_the_output_nothing_is_padded():
    """RRDBNet concatenates features, so the channels of a narrow one are no leading slice of a wide one's."""
    options = {"type": "RRDBNet", "num_feat": 6, "num_block": 1, "num_grow_ch": 4, "scale": 4, **COLOURS}
    network = network_of(options)
    assert pad_widths(network, {**options, "num_feat": 8}) is network


def test_options_are_those_of_the_rounded_width():
    backbone = BACKBONES["MSRResNet"]
    supernet = Supernet(backbone, [10, 20], [3])
    assert supernet.options(Subnet(10, 3)) == {**backbone, "num_feat": 10}
    assert supernet.options(Subnet(10, 3), multiple=8) == {**backbone, "num_feat": 16}
    branches = ClassSR(backbone, [12, 20])
    assert branches.options(Subnet(12, 3), multiple=8)["num_feat"] == 16
    assert branches.options(Subnet(12, 3)) == {**backbone, "num_feat": 12}
    assert copy.deepcopy(backbone) == BACKBONES["MSRResNet"]
