"""The closed form of Eq. 14's integral, against integration that knows nothing of it."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from wbsr_losses.gaussian_density import gaussian_log_density, spheres_log_density
from wbsr_losses.mixture import GaussianMixture


def random_mixture(seed, components=5, dimension=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(components, generator=generator, dtype=torch.float64) + 0.1
    roots = 0.15 * torch.randn(components, dimension, dimension, generator=generator, dtype=torch.float64)
    covariances = roots @ roots.mT + 1e-3 * torch.eye(dimension, dtype=torch.float64)
    means = torch.rand(components, dimension, generator=generator, dtype=torch.float64)
    return GaussianMixture((weights / weights.sum()).to(dtype), means.to(dtype), covariances.to(dtype))


def reference(mixture, x, variance):
    """scipy's log-density of the mixture under noise, in float64."""
    eye = np.eye(mixture.dimension)
    densities = [
        w * stats.multivariate_normal(m, c + variance * eye).pdf(x)
        for w, m, c in zip(
            mixture.weights.double().numpy(),
            mixture.means.double().numpy(),
            mixture.covariances.double().numpy(),
            strict=True,
        )
    ]
    return np.log(np.sum(densities, 0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5])
def test_closed_form_equals_quadrature_in_one_dimension(seed, sigma):
    mixture = random_mixture(seed, dimension=1)
    weights, means = mixture.weights.numpy(), mixture.means[:, 0].numpy()
    stds = mixture.covariances[:, 0, 0].sqrt().numpy()
    for x in (-0.5, 0.2, 0.77, 1.4):

        def integrand(y, x=x):
            return stats.norm.pdf(y, x, sigma) * np.sum(weights * stats.norm.pdf(y, means, stds))

        points = [x, *means]
        low, high = x - 12 * sigma, x + 12 * sigma
        inside = [p for p in points if low < p < high]
        expected = integrate.quad(integrand, low, high, points=inside, limit=500, epsabs=0, epsrel=1e-10)[0]
        got = mixture.log_prob(torch.tensor([[x]], dtype=torch.float64), sigma**2).exp().item()
        assert got == pytest.approx(expected, rel=1e-6)


def test_closed_form_equals_monte_carlo_in_three_dimensions():
    mixture, sigma, count = random_mixture(7), 0.2, 200_000
    rng = np.random.default_rng(0)
    for x in (np.array([0.3, 0.4, 0.5]), np.array([0.9, 0.2, 0.6])):
        draws = stats.norm.rvs(loc=x, scale=sigma, size=(count, 3), random_state=rng)
        values = np.exp(reference(mixture, draws, 0.0))
        error = values.std() / math.sqrt(count)
        got = mixture.log_prob(torch.from_numpy(x), sigma**2).exp().item()
        assert abs(got - values.mean()) < 4 * error
        assert error < 0.01 * got  # the comparison says something


def test_gradient_is_that_of_the_value():
    mixture = random_mixture(1)
    x = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    covariances = mixture.noisy_covariances(0.05**2)
    assert torch.autograd.gradcheck(
        lambda t: gaussian_log_density(t, mixture.weights, mixture.means, covariances), (x,)
    )


@pytest.mark.parametrize("sigma", [1e-3, 0.01, 0.1])
def test_float32_is_accurate_for_narrow_components(sigma):
    wide = random_mixture(2)
    exact = GaussianMixture(wide.weights, wide.means, wide.covariances * 1e-4)
    generator = torch.Generator().manual_seed(0)
    x = exact.means[torch.randint(5, (2000,), generator=generator)]
    x = x + (sigma + 0.003) * torch.randn(2000, 3, generator=generator, dtype=torch.float64)  # where shares are decided
    expected = exact.log_prob(x, sigma**2)
    got = GaussianMixture(exact.weights.float(), exact.means.float(), exact.covariances.float()).log_prob(
        x.float(), sigma**2
    )
    assert (got - expected).abs().max() < 2e-2 * min(1.0, 1e-3 / sigma * 2)
    assert (2 * sigma**2 / 3 * (got - expected)).abs().max() < 1e-7  # what the loss sees of it, beside an MSE


def test_far_away_the_density_falls_like_the_widest_component_and_stays_finite():
    mixture = random_mixture(3, dtype=torch.float32)
    x = torch.tensor([[1e3, -1e3, 1e3], [1e6, 0.0, 0.0], [-1e9, 1e9, 1e9]], requires_grad=True)
    value = mixture.log_prob(x, 1e-4)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(x.grad).all()
    assert (value.diff() < 0).all()
    assert (x.grad[0] * x[0].detach() < 0).sum() >= 2  # it pulls back


def test_blocks_of_pixels_make_no_difference(monkeypatch):
    mixture = random_mixture(4)
    x = torch.rand(3, 3, 1000, dtype=torch.float64)
    whole = gaussian_log_density(x, mixture.weights, mixture.means, mixture.covariances)
    monkeypatch.setattr("wbsr_losses.blocks.CPU_VALUES", 1)
    torch.testing.assert_close(gaussian_log_density(x, mixture.weights, mixture.means, mixture.covariances), whole)


def test_a_second_derivative_is_refused():
    mixture = random_mixture(5)
    x = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(NotImplementedError, match="differentiable once"):
        torch.autograd.grad(mixture.log_prob(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("sigma", [1e-3, 0.01, 0.3])
def test_spheres_are_a_mixture_with_equal_covariances(sigma):
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(9, 3, generator=generator, dtype=torch.float64)
    x = torch.rand(2, 3, 50, generator=generator, dtype=torch.float64).requires_grad_()
    even = torch.full((9,), 1 / 9, dtype=torch.float64)
    covariances = (sigma**2 * torch.eye(3, dtype=torch.float64)).expand(9, -1, -1)
    got = spheres_log_density(x, centres, sigma)
    expected = gaussian_log_density(x, even, centres, covariances)
    torch.testing.assert_close(got, expected)
    slopes = [torch.autograd.grad(value.sum(), x)[0] for value in (got, expected)]
    torch.testing.assert_close(*slopes)
