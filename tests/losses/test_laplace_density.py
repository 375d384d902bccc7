"""The Laplace * Gaussian convolution, against quadrature, from its peak to its far tails."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from wbsr_losses.laplace_density import laplace_log_density


def one(x, mean, std, scale, dtype=torch.float64):
    """log-density of a single component at one point."""
    args = (torch.ones(1, dtype=dtype), torch.tensor([[mean]], dtype=dtype), torch.tensor([[std]], dtype=dtype))
    return laplace_log_density(torch.tensor([[[x]]], dtype=dtype), *args, scale).item()


def quadrature(x, mean, std, scale):
    def integrand(y):
        return stats.laplace.pdf(x, y, scale) * stats.norm.pdf(y, mean, std)

    low, high = mean - 14 * std, mean + 14 * std
    points = [p for p in (x, mean, mean - 3 * std, mean + 3 * std) if low < p < high]
    return integrate.quad(integrand, low, high, points=points, limit=1000, epsabs=0, epsrel=1e-11)[0]


@pytest.mark.parametrize("scale", [0.005, 0.05, 0.5])
@pytest.mark.parametrize("std", [0.004, 0.1, 0.4])
@pytest.mark.parametrize("x", [-0.3, 0.4, 0.41, 1.2])
def test_closed_form_equals_quadrature(x, std, scale):
    expected = quadrature(x, 0.4, std, scale)
    if expected > 1e-250:
        assert math.exp(one(x, 0.4, std, scale)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("std", "scale"), [(0.3, 0.01), (0.3, 1e-4), (0.004, 0.1), (0.05, 0.05)])
def test_far_tails_fall_like_laplace(std, scale):
    # beyond the Gaussian, the log-density is -|d|/b + s²/2b² - log 2b exactly
    for distance in (3 * std**2 / scale + 20 * std, 1e3, 1e6):
        expected = -distance / scale + 0.5 * (std / scale) ** 2 - math.log(2 * scale)
        assert one(distance, 0.0, std, scale) == pytest.approx(expected, rel=1e-9)
        assert one(-distance, 0.0, std, scale) == pytest.approx(expected, rel=1e-9)


def test_mixture_is_the_weighted_sum_of_its_components_per_channel():
    weights = torch.tensor([0.2, 0.8], dtype=torch.float64)
    means = torch.tensor([[0.1, 0.6], [0.5, 0.9]], dtype=torch.float64)
    stds = torch.tensor([[0.05, 0.2], [0.1, 0.3]], dtype=torch.float64)
    x = torch.tensor([[[0.3], [0.7]]], dtype=torch.float64)
    got = laplace_log_density(x, weights, means, stds, 0.02)
    for channel in range(2):
        parts = [
            w.item() * math.exp(one(x[0, channel, 0].item(), m.item(), s.item(), 0.02))
            for w, m, s in zip(weights, means[channel], stds[channel], strict=True)
        ]
        assert got[0, channel, 0].item() == pytest.approx(math.log(sum(parts)), rel=1e-12)


def random_case(dtype):
    generator = torch.Generator().manual_seed(0)
    weights = torch.softmax(torch.randn(4, generator=generator, dtype=torch.float64), 0)
    means = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    stds = 0.004 + 0.3 * torch.rand(3, 4, generator=generator, dtype=torch.float64)
    x = 3 * torch.rand(2, 3, 50, generator=generator, dtype=torch.float64) - 1
    return x.to(dtype), weights.to(dtype), means.to(dtype), stds.to(dtype)


@pytest.mark.parametrize("scale", [0.02, 0.3])
def test_gradient_is_that_of_the_value(scale):
    x, *mixture = random_case(torch.float64)
    assert torch.autograd.gradcheck(
        lambda t: laplace_log_density(t, *mixture, scale), (x[:, :, :6].clone().requires_grad_(),), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("scale", [1e-3, 0.01, 0.1])
def test_float32_agrees_with_float64_in_value_and_gradient(scale):
    results = []
    for dtype in (torch.float64, torch.float32):
        x, *mixture = random_case(dtype)
        x.requires_grad_()
        value = scale * laplace_log_density(x, *mixture, scale)
        value.sum().backward()
        results.append((value.detach().double(), x.grad.double()))
    (exact, exact_slope), (rounded, rounded_slope) = results
    assert (rounded - exact).abs().max() < 2e-5
    assert (rounded_slope - exact_slope).abs().max() < 2e-3


def test_it_never_pulls_harder_than_l1_and_stays_finite():
    _, *mixture = random_case(torch.float32)
    x = torch.tensor([0.0, 0.5, 1.0, 5.0, -1e4, 1e8, 1e15]).expand(1, 3, -1).clone().requires_grad_()
    value = 0.01 * laplace_log_density(x, *mixture, 0.01)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert (x.grad.abs() <= 1 + 1e-6).all()
    assert np.allclose(x.grad[0, :, 5].numpy(), -1)
