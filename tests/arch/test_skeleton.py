"""Which weights a subnet shares: by name, by role where the depth moves the names, and not at all where slicing is
meaningless."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from wbsr.checks.source import read_options
from wbsr_arch import Subnet, Supernet
from wbsr_arch.masking import is_leading_slice
from wbsr_arch.skeleton import build_skeleton, match_names

COMPACT = {"type": "SRVGGNetCompact", "num_feat": 12, "num_conv": 4, "upscale": 2}
OPTIONS = Path(__file__).parents[2] / "options/train/SRVGGNetCompact/WBSR_SRVGGNetCompact_x4.yml"


def compact(**changes):
    return Supernet({**COMPACT, **changes}, widths=[8, 12], depths=[1, 4], depth_arg="num_conv")


@pytest.mark.parametrize("widths", [[8, 13], [8, 12], [12]])
def test_a_shallow_subnet_shares_the_output_layer_whatever_its_number(widths):
    """At 12 channels the output layer's shape is also a block's, so that names alone would slice without a word."""
    from basicsr.archs import build_network

    supernet = Supernet({**COMPACT, "num_feat": widths[-1]}, widths, [1, 4], depth_arg="num_conv")
    full, x = supernet.state_dict(), torch.rand(1, 3, 6, 5)
    for subnet in supernet.subnets:
        small = build_network({**COMPACT, "num_feat": subnet.width, "num_conv": subnet.depth})
        names = {name: name for name in small.state_dict()}
        last = f"body.{2 * subnet.depth + 2}"
        names.update({f"{last}.weight": "body.10.weight", f"{last}.bias": "body.10.bias"})
        small.load_state_dict(
            {name: full[names[name]][tuple(map(slice, value.shape))] for name, value in small.state_dict().items()}
        )
        with torch.no_grad():
            assert torch.equal(supernet(x, subnet), small(x))
            assert torch.equal(supernet.extract(subnet)(x), small(x))


def test_gradients_reach_the_output_layer_and_not_the_block_of_its_number():
    supernet = compact()
    supernet(torch.rand(1, 3, 6, 5), Subnet(8, 1)).sum().backward()
    gradients = {name: weight.grad for name, weight in supernet.named_parameters()}
    assert gradients["body.10.weight"][:, :8].abs().sum() > 0
    assert gradients["body.10.weight"][:, 8:].abs().sum() == 0
    assert gradients["body.4.weight"] is None


def test_the_worked_example_is_nine_subnets_by_an_option_file_alone():
    options = read_options(OPTIONS)["network_g"]
    supernet = Supernet(**{key: value for key, value in options.items() if key != "type"})
    assert (len(supernet.subnets), supernet.scale) == (9, 4)
    assert supernet.num_parameters[supernet.full] == 621_424
    # by hand: 2 x 9 x (3 w + d w^2 + 48 w) for each of 32 x 32 pixels
    assert supernet.flops == {
        s: 2 * 9 * (3 * s.width + s.depth * s.width**2 + 48 * s.width) * 1024 for s in supernet.subnets
    }
    x = torch.rand(1, 3, 8, 8)
    loss = sum(supernet(x, subnet).square().mean() for subnet in supernet.subnets)
    loss.backward()
    assert all(weight.grad is not None for weight in supernet.parameters())


@pytest.mark.parametrize(
    ("backbone", "width_arg"),
    [
        ({"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_block": 2}, "num_feat"),
        ({"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_block": 2, "num_grow_ch": 16}, "num_grow_ch"),
    ],
)
def test_a_backbone_that_concatenates_features_is_refused_in_width_and_taken_in_depth(backbone, width_arg):
    with pytest.raises(ValueError, match=rf"backbone RRDBNet: with {width_arg} 8 it is not what remains of 16"):
        Supernet(backbone, widths=[8, 16], depths=[1, 2], width_arg=width_arg)
    supernet = Supernet(backbone, widths=[16], depths=[1, 2], width_arg=width_arg)
    assert supernet.scale == 4  # RRDBNet calls it `scale`, and it is measured
    assert supernet(torch.rand(1, 3, 4, 4), Subnet(16, 1)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_network_is_a_leading_slice_if_masking_the_wide_one_leaves_it(groups):
    def network(width):
        return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.GroupNorm(groups, width), nn.Conv2d(width, 3, 1))

    assert not is_leading_slice(network(4), network(8), 3)  # normalised over other channels

    def plain(width):
        return nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.PReLU(width), nn.Conv2d(width, 12, 1), nn.PixelShuffle(2)
        )

    assert is_leading_slice(plain(4), plain(8), 3)


def test_a_width_that_leaves_a_layer_without_channels_is_refused():
    backbone = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 32, "num_group": 1, "num_block": 1}
    with pytest.raises(ValueError, match=r"attention.1.weight is left without channels, .*: raise the smallest width"):
        Supernet(backbone, widths=[8, 32], depths=[1])


def test_layers_that_no_shift_explains_are_refused():
    def listed(*layers):
        return nn.ModuleDict({"body": nn.Sequential(*layers)})

    small = listed(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 1))
    full = listed(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 9, 1))
    with pytest.raises(ValueError, match=r"toy: the 2 layers body.\* of a subnet are not the first ones"):
        match_names([small], [full], "toy")


def test_a_layer_that_the_full_network_lacks_is_named():
    small, full = (
        nn.ModuleDict({"head": nn.Linear(1, 1), "tail": nn.Linear(1, 1)}),
        nn.ModuleDict({"head": nn.Linear(1, 1)}),
    )
    with pytest.raises(ValueError, match="toy: the subnet's layer tail is not in the full network: choose another"):
        match_names([small], [full], "toy")


def test_a_skeleton_holds_no_weights_and_leaves_the_random_generator_alone():
    state = torch.get_rng_state()
    for options in (COMPACT, {"type": "RIDNet", "in_channels": 3, "mid_channels": 16, "out_channels": 3}):
        assert all(weight.is_meta for weight in build_skeleton(options).state_dict().values())
    edsr = build_skeleton({"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1})
    assert edsr.mean.flatten().tolist() == pytest.approx([0.4488, 0.4371, 0.4040])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_copy_of_a_supernet_has_weights_of_its_own():
    supernet = compact()
    other = copy.deepcopy(supernet)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    x = torch.rand(1, 3, 5, 5)
    assert other(x, Subnet(8, 1)).ne(supernet(x, Subnet(8, 1))).any()
    assert torch.equal(other(x, Subnet(8, 1)), other(x))


def test_an_error_inside_a_subnet_leaves_its_skeleton_as_it_was():
    supernet, x = compact(), torch.rand(1, 3, 5, 5)
    expected = supernet(x, Subnet(8, 1))
    with pytest.raises(RuntimeError):
        supernet(torch.rand(1, 4, 5, 5), Subnet(8, 1))
    assert all(weight.is_meta for weight in supernet._family[Subnet(8, 1)][0].state_dict().values())
    assert torch.equal(supernet(x, Subnet(8, 1)), expected)


def test_a_subnet_tells_the_options_that_build_it():
    from basicsr.archs import build_network

    supernet = compact()
    small = build_network(supernet.options(Subnet(8, 1)))
    assert {n: w.shape for n, w in small.state_dict().items()} == {
        n: w.shape for n, w in supernet.extract(Subnet(8, 1)).state_dict().items()
    }
    assert supernet.options() == COMPACT
