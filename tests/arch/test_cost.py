"""FLOPs are those of torch's own counter, for every operator, and counting leaves a network as it was."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wbsr_arch.backbone import build
from wbsr_arch.cost import count_flops, count_parameters, dry_run

NETWORKS = [
    {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 32, "num_group": 2, "num_block": 2},
    {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": 3},
    {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 3},
    {"type": "LRResNet", "num_feat": 8, "num_block": 2},
]


@pytest.mark.parametrize("options", NETWORKS, ids=[options["type"] for options in NETWORKS])
def test_the_count_is_that_of_torchs_counter(options):
    network = build(options)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, 12, 12))
    assert count_flops(network, size=12) == counter.get_total_flops()


def test_repeated_layers_and_changes_in_place_count_as_often_as_they_run():
    """By hand: 2 x 9 x 4 x 4 per pixel of the convolution, and 2 x 100 x 7 for the matrix product."""

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.line = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(100, 7)

        def forward(self, x):
            for _ in range(5):
                x = self.conv(x).relu_().add_(x)
            return self.line(x.mean(1).flatten(1))

    flops, in_vectors = 5 * 2 * 9 * 16 * 100, 5 * 2 * 9 * 64 * 100
    counted = dry_run(Loop(), in_channels=4, size=10)
    assert counted == (flops + 1400, in_vectors + 1400, 6, torch.Size([1, 7]), "line")


@pytest.mark.parametrize(
    ("layer", "filled"),
    [
        (nn.Conv2d(36, 52, 3, padding=1), 64 / 52),
        (nn.Conv2d(36, 144, 1), 1),
        (nn.ConvTranspose2d(48, 36, 3), 48 / 36),
        (nn.Conv2d(36, 36, 3, padding=1, groups=36), 1),
    ],
)
def test_work_is_flops_with_the_output_channels_of_whole_vectors(layer, filled):
    counted = dry_run(layer, layer.in_channels)
    assert counted.work == pytest.approx(counted.flops * filled)


def test_the_output_layer_is_the_last_to_run():
    assert [dry_run(build(options)).output_layer for options in NETWORKS] == [
        "conv_last",
        "conv_last",
        "body.8",
        "conv_last",
    ]


def test_counting_leaves_no_hook_behind():
    network = build(NETWORKS[0])
    dry_run(network)
    assert not any(module._forward_hooks for module in network.modules())


def test_counting_leaves_weights_and_attributes_alone():
    network = build(NETWORKS[0])
    mean, weight = network.mean, network.conv_first.weight
    count_flops(network)
    assert network.mean is mean
    assert network.conv_first.weight is weight
    assert weight.device.type == mean.device.type == "cpu"


def test_parameters_are_counted_by_hand():
    assert count_parameters(nn.Sequential(nn.Conv2d(3, 5, 3), nn.PReLU(5))) == 5 * 27 + 5 + 5


def test_a_network_that_computes_with_values_is_refused():
    class Odd(nn.Module):
        def forward(self, x):
            return x if x.mean().item() > 0 else -x

    with pytest.raises(ValueError, match="Odd can't be counted: it does not run on an input of shape"):
        count_flops(Odd())
