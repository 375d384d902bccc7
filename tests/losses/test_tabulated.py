"""The table of the Laplace density: as exact as what it stands for, wherever it is asked."""

import pytest
import torch

from wbsr_losses import GaussianMixture, densities
from wbsr_losses.densities import LaplaceDensity
from wbsr_losses.laplace_density import laplace_log_density


def mixture(kind="colours"):
    generator = torch.Generator().manual_seed(0)
    weights = torch.softmax(torch.randn(4, generator=generator), 0)
    stds = 0.004 + 0.3 * torch.rand(4, 3, generator=generator) ** 3
    means = torch.rand(4, 3, generator=generator)
    if kind == "residuals":
        means, stds[0] = 0.05 * (means - 0.5), 0.004
    elif kind == "far":  # narrow ones outside of where images are
        means[0], stds[0], means[1], stds[1] = 7.3, 0.02, -5.1, 0.01
    elif kind == "wide":
        stds = 0.4 + stds
    return GaussianMixture(weights, means, torch.diag_embed(stds.square()))


def exact(one, x, scale):
    """Value and slope times b, in float64, by the closed form."""
    x = x.double().requires_grad_()
    numbers = (numbers.double() for numbers in (one.weights, one.means.T, one.stds.T))
    value = scale * laplace_log_density(x, *numbers, scale)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


def tabulated(one, x, scale):
    x = x.clone().requires_grad_()
    value = scale * LaplaceDensity(one, scale)(x)
    return value.detach().double(), torch.autograd.grad(value.sum(), x)[0].double()


@pytest.fixture
def no_closed_form(monkeypatch):
    """Whoever asks the closed form where the table should be read fails."""

    def asked(*_):
        raise AssertionError("the table was not read")

    monkeypatch.setattr(densities, "laplace_log_density", asked)


def draw(low, high):
    return low + (high - low) * torch.rand(2, 3, 20_000, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["colours", "residuals", "far", "wide"])
@pytest.mark.parametrize("scale", [1e-3, 0.01, 0.1, 1.0])
def test_table_and_closed_form_agree_from_minus_ten_to_ten(kind, scale, no_closed_form):
    one, x = mixture(kind), torch.cat([draw(-10, 10), draw(-0.5, 1.5)], 2)
    value, slope = tabulated(one, x, scale)
    expected, expected_slope = exact(one, x, scale)
    assert ((value - expected).abs() <= 2e-7 + 3e-7 * expected.abs()).all()
    assert (slope - expected_slope).abs().max() < 3e-4  # of slopes up to 1


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 0.01, 0.1, 1.0])
def test_beyond_the_table_the_tail_goes_on_in_a_straight_line(scale, no_closed_form):
    one = mixture()
    x = draw(-30, 30).sinh() * 1e3  # up to 5e15 on both sides
    value, slope = tabulated(one, x, scale)
    expected, expected_slope = exact(one, x, scale)
    assert ((value - expected).abs() <= 4e-7 * expected.abs() + 2e-7).all()
    assert (slope - expected_slope).abs().max() < 2e-4


def test_edges_of_cells_are_as_exact_as_the_rest(no_closed_form):
    one, scale = mixture(), 0.01
    distance = LaplaceDensity(one, scale).grid.edges().float()
    x = torch.cat([0.5 + distance, 0.5 - distance]).expand(1, 3, -1)
    x = torch.cat([x, x.nextafter(torch.tensor(torch.inf)), x.nextafter(-torch.tensor(torch.inf))], 2)
    value, slope = tabulated(one, x, scale)
    expected, expected_slope = exact(one, x, scale)
    assert ((value - expected).abs() <= 1e-7 + 2e-7 * expected.abs()).all()
    assert (slope - expected_slope).abs().max() < 1e-4


def test_float64_is_worked_out_by_the_closed_form():
    one, x = mixture().double(), draw(-1, 2).double()
    torch.testing.assert_close(0.01 * LaplaceDensity(one, 0.01)(x), exact(one, x, 0.01)[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("variances", [[0.1, 1e-10], [1e-16, 1e-16]])
def test_a_mixture_too_narrow_for_a_table_is_worked_out_by_the_closed_form(variances):
    x, covariances = draw(-1, 2), torch.tensor(variances)[:, None, None] * torch.eye(3)
    narrow = GaussianMixture([0.5, 0.5], [[0.5] * 3, [0.5] * 3], covariances)
    density = LaplaceDensity(narrow, 0.01)
    assert density.table is None
    torch.testing.assert_close(0.01 * density(x).double(), exact(narrow, x, 0.01)[0], rtol=1e-5, atol=1e-6)


def test_blocks_of_pixels_make_no_difference(monkeypatch):
    density, x = LaplaceDensity(mixture(), 0.01), draw(-3, 3)
    whole = density(x)
    monkeypatch.setattr("wbsr_losses.blocks.CPU_VALUES", 1)
    assert torch.equal(density(x), whole)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so_and_leaves_the_rest_alone(value):
    density, x = LaplaceDensity(mixture(), 0.01), draw(-1, 2)
    broken = x.clone()
    broken[0, 1, 5] = value
    got = density(broken)
    assert not torch.isfinite(got[0, 1, 5])
    got[0, 1, 5] = density(x)[0, 1, 5]
    assert torch.equal(got, density(x))
