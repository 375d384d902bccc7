"""How far a network looks, counted by hand and against windows; what half precision does to it."""

import math

import pytest
import torch
from torch import nn

from wbsr_arch.backbone import build
from wbsr_arch.traits import half_error, reach

COLOURS = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8}


def network(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build({**COLOURS, **options}).eval()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # first convolution, two for each block, one before the resolution rises; two pixels of x2 after it
        ({"type": "MSRResNet", "num_block": 2, "upscale": 2}, 1 + 4 + 1 + 1),
        ({"type": "SRVGGNetCompact", "num_conv": 3, "upscale": 2}, 1 + 3 + 1),
        ({"type": "LRResNet", "num_block": 2, "upscale": 2}, 1 + 4 + 1),
        ({"type": "RCAN", "num_group": 1, "num_block": 1, "upscale": 2, "squeeze_factor": 1}, None),
    ],
)
def test_how_far_networks_look_by_hand(options, expected):
    assert reach(network(**options)) == expected


@pytest.mark.parametrize(
    "options", [{"type": "MSRResNet", "num_block": 2, "upscale": 4}, {"type": "EDSR", "num_block": 1, "upscale": 2}]
)
def test_a_halo_as_wide_makes_tiles_exact_and_one_less_does_not(options):
    net, halo = network(**options).double(), reach(network(**options))
    x, scale = torch.rand(1, 3, 6, 60, dtype=torch.float64), options["upscale"]
    with torch.no_grad():
        whole = net(x)[..., 30 * scale :]
        errors = [(net(x[..., 30 - side :])[..., side * scale :] - whole).abs().max() for side in (halo, halo - 1)]
    assert errors[0] < 1e-13
    assert errors[1] > 1e3 * errors[0]


def test_grey_networks_are_asked_with_one_channel():
    assert reach(network(type="SRVGGNetCompact", num_in_ch=1, num_out_ch=1, num_conv=1, upscale=2), in_channels=1) == 3


class Loud(nn.Module):
    """Goes above what fp16 holds, and comes back."""

    def forward(self, x):
        return (x + 1) * 40000 / 40000


def test_half_precision_errs_by_its_rounding_or_overflows():
    net = network(type="MSRResNet", num_block=2, upscale=2)
    assert 0 < half_error(net, "fp16") < half_error(net, "bf16") < 2
    assert half_error(Loud(), "fp16") == math.inf
    assert half_error(Loud(), "bf16") < 2
