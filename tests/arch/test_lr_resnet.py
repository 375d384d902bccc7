"""LRResNet: what BasicSR builds, where it starts, and that a supernet of it learns at a high rate."""

import pytest
import torch
from torch.nn import functional as F

from wbsr import compat

compat.install()

from wbsr_arch import Subnet, Supernet  # noqa: E402


def build(**options):
    from basicsr.archs import build_network

    torch.manual_seed(0)
    return build_network({"type": "LRResNet", **options})


def interpolated(x, scale):
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


@pytest.mark.parametrize(("channels", "scale"), [((3, 3), 2), ((3, 3), 3), ((1, 1), 4), ((1, 3), 2)])
def test_basicsr_builds_it_and_it_starts_near_the_interpolated_image(channels, scale):
    network = build(num_in_ch=channels[0], num_out_ch=channels[1], num_feat=32, num_block=3, upscale=scale)
    x = torch.rand(2, channels[0], 9, 13)
    base = interpolated(x, scale).expand(-1, channels[1], -1, -1)
    output = network(x)
    assert output.shape == (2, channels[1], 9 * scale, 13 * scale)
    assert 0 < (output - base).abs().mean() < 0.2


def test_a_hand_made_network_of_one_block():
    """Weights of identity: the body gives x + 2x, the last convolution the sub-pixels of it."""
    network = build(num_in_ch=1, num_out_ch=1, num_feat=1, num_block=1, upscale=2)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        network.conv_first.weight[0, 0, 1, 1] = 1
        network.body[0].conv1.weight[0, 0, 1, 1] = 2
        network.body[0].conv2.weight[0, 0, 1, 1] = 1
        network.conv_last.weight[:, 0, 1, 1] = torch.tensor([0.0, 1.0, 2.0, 3.0])
    x = torch.rand(1, 1, 4, 5)
    factors = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat(4, 5)
    expected = interpolated(x, 2) + 3 * factors * x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(network(x), expected, atol=1e-6)


def test_channels_that_cannot_be_added_are_refused():
    with pytest.raises(ValueError, match="num_in_ch of LRResNet must be 1 or its num_out_ch of 1, got 3"):
        build(num_in_ch=3, num_out_ch=1)


def test_a_slice_starts_at_the_scale_of_the_whole():
    """Features of narrow subnets are neither lost nor blown up, in many blocks as in few."""
    torch.manual_seed(0)
    supernet = Supernet({"type": "LRResNet", "num_feat": 48, "num_block": 10}, [16, 32, 48], [3, 6, 10])
    x = torch.rand(1, 3, 24, 24)
    spreads = {}
    for subnet in supernet.subnets:
        plain, kept = supernet.extract(subnet), []
        plain.conv_last.register_forward_pre_hook(
            lambda _, arguments, kept=kept: kept.append(arguments[0].std().item())
        )
        plain(x)
        spreads[subnet] = kept[0]
    assert max(spreads.values()) < 1.5 * min(spreads.values())


def test_the_cost_of_its_subnets_follows_width_squared_times_depth():
    supernet = Supernet({"type": "LRResNet", "num_feat": 48, "num_block": 10}, [16, 32, 48], [3, 6, 10])
    assert supernet.share(Subnet(16, 3)) < 0.06
    assert supernet.share(Subnet(48, 3)) == pytest.approx(0.34, abs=0.02)
    assert supernet.share(Subnet(32, 10)) == pytest.approx(0.45, abs=0.02)


def test_a_small_supernet_leaves_its_base_at_a_high_rate():
    """Stripes between the LR pixels, which no interpolation finds; each step trains one subnet, as WBSRModel does."""
    torch.manual_seed(0)
    supernet = Supernet({"type": "LRResNet", "num_feat": 16, "num_block": 4, "upscale": 2}, [8, 16], [2, 4])
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(supernet.parameters(), 2e-3)

    def pairs():
        hr = torch.rand(8, 3, 8, 1, generator=generator).repeat_interleave(4, 2).expand(-1, -1, -1, 32)
        return F.avg_pool2d(hr[:, :, 1:-1, :-2], 2), hr[:, :, 1:-1, :-2]

    for iteration in range(200):
        lr, hr = pairs()
        optimizer.zero_grad()
        F.l1_loss(supernet(lr, supernet.subnets[iteration % 4]), hr).backward()
        optimizer.step()
    lr, hr = pairs()
    base = F.l1_loss(interpolated(lr, 2), hr)
    with torch.no_grad():
        assert all(F.l1_loss(supernet(lr, subnet), hr) < 0.7 * base for subnet in supernet.subnets)
