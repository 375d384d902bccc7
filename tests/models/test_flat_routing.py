"""Flat patches are interpolated under every policy: exactly, at no cost, and without a seam."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from wbsr_arch import ClassSR, Supernet
from wbsr_base.pixels.bicubic import interpolate
from wbsr_data.flatness import flat_pixels, patches_within
from wbsr_models import DynamicUpscaler, EngineSettings, Profile, Routing
from wbsr_models.routing.choice import NO_SUBNET
from wbsr_models.routing.edge_table import EdgeTable
from wbsr_models.routing.policies import with_budget
from wbsr_models.testing.options import parse_dynamic
from wbsr_models.testing.protocol import PatchProtocol

BACKBONE = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}
PROFILE = Profile(
    8,
    (0.02, 0.1),
    ((4.0, 3.0, 2.0, 1.0), (8.0, 6.0, 4.0, 2.0), (9.0, 6.0, 4.0, 1.0)),
    (0.3, 0.3, 0.4),
    EdgeTable((0.03,), ((50.0, 50.0, 50.0, 50.0, 50.0), (20.0, 21.0, 22.0, 23.0, 24.0))),
)
POLICIES = [
    Routing("paper"),
    Routing("eq16", 0.8),
    Routing("budget", 0.7),
    Routing("budget", 0.7, budget_over="set"),
    Routing("arm", eta=1.0),
    Routing("full"),
    Routing("w4d2"),
]


@pytest.fixture(scope="module")
def supernet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        supernet = Supernet(BACKBONE, widths=[4, 8], depths=[1, 2]).eval()
    with torch.no_grad():
        for weight in supernet.parameters():
            weight.mul_(3)
    return supernet


def page(height=48, width=61):
    """White paper with some black dots in its upper left part."""
    x = torch.ones(3, height, width)
    dots = np.random.default_rng(0).integers(2, 18, (30, 2))
    x[:, dots[:, 0], dots[:, 1]] = 0
    return x


@pytest.mark.parametrize("plan", ["tiles", "dense"])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.mode)
def test_flat_places_are_interpolated_exactly_under_every_policy(supernet, policy, plan):
    x = page()
    plain = DynamicUpscaler(supernet, PROFILE, policy, EngineSettings(plan=plan))
    before, told = plain(x)
    sr, report = plain.routed(replace(policy, flat=True))(x)
    flat = patches_within(flat_pixels(x), 8, 8).numpy()
    assert 0 < flat.sum() < flat.size
    assert (report.choice[flat] == NO_SUBNET).all()
    if policy.mode != "budget":
        np.testing.assert_array_equal(report.choice[~flat], told.choice[~flat])
    still = flat_pixels(x).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert (sr[:, still] - 1).abs().max() < 1e-6
    assert (before[:, still] - 1).abs().max() > 1e-3  # the networks are of random weights
    assert torch.equal((255 * sr[:, still].clamp(0, 1)).round(), torch.full_like(sr[:, still], 255))
    shares = np.array([*plain.flops_shares, 0.0])
    assert report.flops_share == pytest.approx(shares[report.choice].mean())
    assert report.flops_share < told.flops_share or policy.mode == "arm"
    assert report.flops_share_run <= told.flops_share_run


def test_textured_images_are_left_alone(supernet):
    x = torch.rand(3, 40, 40)
    upscaler = DynamicUpscaler(supernet, PROFILE)
    sr, report = upscaler(x)
    other, same = upscaler.routed(Routing("paper", flat=True))(x)
    assert torch.equal(sr, other)
    np.testing.assert_array_equal(report.choice, same.choice)


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (8, 8), (40, 40)])
def test_images_that_are_flat_all_over_cost_nothing(supernet, size):
    for level in (0.0, 0.3, 1.0):
        upscaler = DynamicUpscaler(supernet, PROFILE, Routing("budget", 0.9, flat=True))
        sr, report = upscaler(torch.full((3, *size), level))
        assert report.flops_share == report.flops_share_run == 0
        assert (sr - level).abs().max() < 1e-6


def test_ramps_are_interpolated_without_a_border_between_bands(supernet):
    x = (torch.arange(200.0)[:, None] / 255).expand(3, 200, 24).clone()
    sr, _ = DynamicUpscaler(supernet, PROFILE, Routing("full", flat=True))(x)
    assert torch.allclose(sr, interpolate(x[None], 400, 48)[0], atol=1e-6)


def test_a_classifier_and_the_patchwise_protocol_spare_flat_patches_too(supernet):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ClassSR(BACKBONE, widths=[4, 6, 8]).eval()
    x = page()
    _, report = DynamicUpscaler(network, 8, Routing("classsr", flat=True))(x)
    flat = patches_within(flat_pixels(x), 8, 8).numpy()
    np.testing.assert_array_equal(report.choice == NO_SUBNET, flat)
    protocol = PatchProtocol(DynamicUpscaler(supernet, PROFILE, Routing("full", flat=True)), 8, 7)
    sr, report = protocol(x[None])
    np.testing.assert_array_equal(report.choice == NO_SUBNET, patches_within(flat_pixels(x[:, :43, :57]), 8, 7).numpy())
    assert (sr[..., 50:, 60:] - 1).abs().max() < 1e-6


def test_the_option_holds_for_budgets_of_a_call_and_for_a_curve():
    assert with_budget(Routing("paper", flat=True), 0.5).flat
    dynamic = parse_dynamic({"routing": "paper", "budget": [0.2, 0.5], "flat": True}, "val:dynamic")
    assert [policy.flat for _, policy in dynamic.requests] == [True] * 3
    assert not parse_dynamic({}, "val:dynamic").requests[0][1].flat
    with pytest.raises(TypeError, match="val:dynamic:flat must be true or false, got 'yes please'"):
        parse_dynamic({"flat": "yes please"}, "val:dynamic")
