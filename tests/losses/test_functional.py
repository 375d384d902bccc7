"""The three losses: their limits, their agreement with each other, and the theorem they rest on (Eq. 5)."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from wbsr_losses import GaussianMixture
from wbsr_losses.densities import LaplaceDensity
from wbsr_losses.functional import bd_loss_gaussian, bd_loss_laplace, bd_loss_monte_carlo
from wbsr_losses.importance import ImportanceWeights


@pytest.fixture
def mixture():
    generator = torch.Generator().manual_seed(0)
    weights = torch.softmax(torch.randn(4, generator=generator, dtype=torch.float64), 0)
    roots = 0.2 * torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
    means = torch.rand(4, 3, generator=generator, dtype=torch.float64)
    return GaussianMixture(weights, means, roots @ roots.mT + 1e-3 * torch.eye(3, dtype=torch.float64))


def images():
    pred, target = torch.rand(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return pred.requires_grad_(), target


def value_and_gradient(loss, pred):
    value = loss.mean()
    (gradient,) = torch.autograd.grad(value, pred)
    return value.item(), gradient


def forms(mixture, sigma):
    return {
        "gaussian": (lambda p, t: bd_loss_gaussian(p, t, mixture, sigma), F.mse_loss),
        "laplace": (lambda p, t: bd_loss_laplace(p, t, mixture, sigma), F.l1_loss),
        "monte_carlo": (lambda p, t: bd_loss_monte_carlo(p, t, mixture.means, sigma), None),
    }


@pytest.mark.parametrize("form", ["gaussian", "laplace"])
def test_as_sigma_goes_to_zero_the_loss_becomes_plain_regression(mixture, form):
    pred, target = images()
    gaps = []
    for sigma in (1e-1, 1e-2, 1e-3, 1e-4):
        loss, plain = forms(mixture, sigma)[form]
        value, gradient = value_and_gradient(loss(pred, target), pred)
        expected, expected_gradient = value_and_gradient(plain(pred, target, reduction="none"), pred)
        gap = (gradient - expected_gradient).abs().max() / expected_gradient.abs().max()
        gaps.append((abs(value - expected), gap.item()))
    for (value_gap, gap), (next_value_gap, next_gap) in itertools.pairwise(gaps):
        assert next_value_gap < value_gap
        assert next_gap < gap
    assert gaps[-1][0] < (1e-3 if form == "laplace" else 1e-6)  # L1 is reached like b, MSE like σ²
    assert gaps[-1][1] < (1e-2 if form == "laplace" else 1e-5)


@pytest.mark.parametrize("form", ["gaussian", "laplace", "monte_carlo"])
@pytest.mark.parametrize("sigma", [0.05, 0.3])
def test_gradient_is_that_of_the_value(mixture, form, sigma):
    pred, target = images()
    loss, _ = forms(mixture, sigma)[form]
    assert torch.autograd.gradcheck(lambda p: loss(p, target), (pred,))


@pytest.mark.parametrize("sigma", [0.02, 0.2])
def test_gaussian_is_equation_14_scaled_without_its_constant(mixture, sigma):
    pred, target = images()
    normal = torch.distributions.Normal(pred, sigma)
    eye = torch.eye(3, dtype=torch.float64)
    noisy = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(mixture.weights),
        torch.distributions.MultivariateNormal(mixture.means, mixture.covariances + sigma**2 * eye),
    )
    printed = -normal.log_prob(target).sum(1) + noisy.log_prob(pred.movedim(1, -1))
    expected = 2 * sigma**2 / 3 * (printed - 1.5 * math.log(2 * math.pi * sigma**2))
    got = bd_loss_gaussian(pred, target, mixture, sigma)
    torch.testing.assert_close(got.mean(1), expected, rtol=1e-9, atol=1e-12)


def test_monte_carlo_tends_to_the_closed_form(mixture):
    pred, target = images()
    sigma, count = 0.25, 40_000
    generator = torch.Generator().manual_seed(0)
    which = torch.multinomial(mixture.weights, count, replacement=True, generator=generator)
    roots = torch.linalg.cholesky(mixture.covariances)[which]
    noise = torch.randn(count, 3, 1, generator=generator, dtype=torch.float64)
    samples = mixture.means[which] + (roots @ noise)[..., 0]
    got = bd_loss_monte_carlo(pred, target, samples, sigma)
    # one sample more or less is 1/count; the rest is the standard error of the mean
    assert (got - bd_loss_gaussian(pred, target, mixture, sigma)).abs().max() < 2 * sigma**2 / 3 * 0.05


def test_theorem_balanced_posterior_is_recovered_from_imbalanced_data():
    # a made-up p(x|y) over 5 inputs and 4 targets; p_train(y) is far from uniform
    generator = torch.Generator().manual_seed(0)
    likelihood = torch.softmax(torch.randn(5, 4, generator=generator, dtype=torch.float64), 0)  # p(x|y)
    prior = torch.tensor([0.9, 0.07, 0.02, 0.01], dtype=torch.float64)
    joint = likelihood * prior
    balanced = likelihood / likelihood.sum(1, keepdim=True)  # p_bal(y|x): Bayes with a uniform prior
    seen = joint / joint.sum(1, keepdim=True)  # p_train(y|x)
    converted = balanced * prior / (balanced * prior).sum(1, keepdim=True)  # Eq. 5
    torch.testing.assert_close(converted, seen)

    # fitting p_bal by the likelihood of its conversion finds the balanced posterior, plain likelihood does not
    for convert, expected in ((True, balanced), (False, seen)):
        logits = torch.zeros(5, 4, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

        def closure(logits=logits, optimizer=optimizer, convert=convert):
            optimizer.zero_grad()
            loss = -(joint * torch.log_softmax(logits + convert * prior.log(), 1)).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        torch.testing.assert_close(logits.softmax(1), expected, atol=1e-4, rtol=1e-3)


def test_monte_carlo_without_another_target_nearby_asks_nothing(mixture):
    # the own target is the only one that explains the prediction: -log(1 / (S + 1)) is left, and no gradient
    pred, target = images()
    pred = (target + 1e-3).requires_grad_()
    loss = bd_loss_monte_carlo(pred, target, torch.full((7, 3), 5.0, dtype=torch.float64), 0.01)
    log_peak = -1.5 * math.log(2 * math.pi * 0.01**2)
    assert loss.mean().item() == pytest.approx(2 * 0.01**2 / 3 * (log_peak - math.log(8)), rel=1e-9)
    loss.mean().backward()
    assert pred.grad.abs().max() < 1e-12


def fit_long_tail(seed, loss):
    """Regress a long-tailed target from a noisy look at it; mean absolute error on the rare half of the range."""
    generator = torch.Generator().manual_seed(seed)
    y = (0.12 * torch.empty(4000, 1).exponential_(generator=generator)).clamp(max=1).expand(-1, 3)
    x = y[:, :1] + 0.15 * torch.randn(4000, 1, generator=generator)
    knots = torch.linspace(-0.4, 1.4, 19)
    features = torch.relu(x - knots) / (len(knots) ** 0.5)
    features = torch.cat([features, torch.ones(len(x), 1)], 1)
    weights = torch.zeros(features.shape[1], 3, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05)
    target = y.T[None, :, :, None]
    for _ in range(600):
        optimizer.zero_grad()
        pred = (features @ weights).T[None, :, :, None]
        loss(pred, target).mean().backward()
        optimizer.step()
    even = torch.linspace(0, 1, 400)[:, None]  # a balanced test set
    look = even + 0.15 * torch.randn(400, 1, generator=generator)
    answer = torch.cat([torch.relu(look - knots) / (len(knots) ** 0.5), torch.ones(400, 1)], 1) @ weights.detach()
    return (answer[200:] - even[200:]).abs().mean().item()


@pytest.mark.parametrize("seed", range(3))
def test_rare_targets_are_predicted_better_than_by_plain_losses(seed):
    # the exponential density exp(-y/0.12), as a mixture of narrow Gaussians on a grid; colours are grey
    grid = torch.linspace(0, 1, 26)
    weights = torch.exp(-grid / 0.12)
    covariances = (0.02**2 * torch.eye(3)).repeat(26, 1, 1)
    mixture = GaussianMixture(weights / weights.sum(), grid[:, None].expand(-1, 3), covariances)
    noise = 0.15
    mse = fit_long_tail(seed, lambda p, t: (p - t).square())
    l1 = fit_long_tail(seed, lambda p, t: (p - t).abs())
    marginal = GaussianMixture(mixture.weights, mixture.means[:, :1], mixture.covariances[:, :1, :1])

    def gaussian(p, t):  # each channel is an image of its own
        return bd_loss_gaussian(p.movedim(1, 0), t.movedim(1, 0), marginal, noise)

    assert fit_long_tail(seed, gaussian) < 0.85 * mse
    density = LaplaceDensity(mixture, noise)  # read off a table, as in trainings
    assert fit_long_tail(seed, lambda p, t: bd_loss_laplace(p, t, mixture, noise, density)) < 0.85 * l1
    weights = ImportanceWeights(mixture, 0.02, 1.0)
    assert fit_long_tail(seed, lambda p, t: weights(t) * (p - t).abs()) < 0.85 * l1


@pytest.mark.parametrize("seed", range(100, 103))
def test_laplace_helps_rare_targets_where_b_is_smaller_than_the_scale_of_their_tail(seed):
    # b near or above the tail's 0.12 leaves nothing to pull a prediction back, and helps on some seeds alone
    grid = torch.linspace(0, 1, 26)
    weights = torch.exp(-grid / 0.12)
    covariances = (0.02**2 * torch.eye(3)).repeat(26, 1, 1)
    mixture = GaussianMixture(weights / weights.sum(), grid[:, None].expand(-1, 3), covariances)
    l1, density = fit_long_tail(seed, lambda p, t: (p - t).abs()), LaplaceDensity(mixture, 0.05)
    assert fit_long_tail(seed, lambda p, t: bd_loss_laplace(p, t, mixture, 0.05, density)) < 0.85 * l1


@pytest.mark.parametrize("sigma", [0.0, -0.1, math.nan, math.inf])
def test_a_sigma_that_is_not_positive_is_refused(mixture, sigma):
    for loss, _ in forms(mixture, sigma).values():
        with pytest.raises(ValueError, match=f"sigma must be a positive number, got {sigma}"):
            loss(*images())


def test_a_mixture_of_another_dimension_is_refused():
    grey = GaussianMixture([1.0], [[0.5]], [[[0.1]]])
    for loss, _ in forms(grey, 0.1).values():
        with pytest.raises(ValueError, match="the mixture or samples must have dimension 3, as the images, got 1"):
            loss(*images())
