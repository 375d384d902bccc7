"""Weights that balance: what they are worth, against integration, and what they do to a long-tailed regression."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from wbsr_losses import BDLoss, GaussianMixture, fit_mixture
from wbsr_losses.importance import ImportanceWeights
from wbsr_losses.texture import local_texture

WEIGHTS, STDS = (0.8, 0.2), (0.02, 0.15)


def mixture(dimension=1):
    covariances = torch.tensor(STDS)[:, None, None].square() * torch.eye(dimension)
    return GaussianMixture(list(WEIGHTS), torch.zeros(2, dimension), covariances)


def density(y, sigma):
    return sum(w * stats.norm.pdf(y, 0, np.hypot(s, sigma)) for w, s in zip(WEIGHTS, STDS, strict=True))


@pytest.mark.parametrize("sigma", [0.01, 0.05])
@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_weights_are_the_inverse_density_with_mean_one(sigma, strength):
    # the mean is over -1..1, where targets lie
    weights = ImportanceWeights(mixture(3), sigma, strength)
    mean = integrate.quad(lambda y: density(y, 0) * density(y, sigma) ** -strength, -1, 1, points=[0], limit=500)[0]
    mean /= integrate.quad(lambda y: density(y, 0), -1, 1, points=[0], limit=500)[0]
    y = torch.tensor([-0.4, -0.1, 0.0, 0.02, 0.25])
    got = weights(y.expand(1, 3, 1, -1))
    expected = density(y.double().numpy(), sigma) ** -strength / mean
    np.testing.assert_allclose(got[0, 2, 0].numpy(), expected, rtol=0.02)
    assert torch.equal(got[:, 0], got[:, 2])


def test_no_strength_is_plain_l1(tmp_path):
    mixture().save(tmp_path / "m.json")
    pred, target = torch.rand(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = BDLoss(form="weighted", y="texture", strength=0, noise_sigma=0.05, mixture=tmp_path / "m.json")
    torch.testing.assert_close(loss(pred, target), (pred - target).abs().mean())


def test_rare_textures_weigh_more_and_the_weights_carry_no_gradient(tmp_path):
    mixture().save(tmp_path / "m.json")
    loss = BDLoss(
        form="weighted", y="texture", strength=0.5, noise_sigma=0.05, mixture=tmp_path / "m.json", reduction="none"
    )
    contrast = torch.tensor([0.0, 0.1, 0.3, 0.6]).repeat_interleave(16)
    target = (contrast * (torch.arange(32)[:, None] % 2)).expand(1, 3, 32, 64).clone().requires_grad_()
    pred = (target.detach() + 0.01).requires_grad_()
    elements = loss(pred, target)
    assert (elements[0, 0, 0, 8::16].diff() > 0).all()
    torch.testing.assert_close(elements[0, :, :16, :16].std(), torch.tensor(0.0), atol=1e-7, rtol=0)  # one per cell
    elements.sum().backward()
    torch.testing.assert_close(pred.grad, elements.detach() / 0.01, rtol=1e-4, atol=0)


def test_texture_is_the_rms_gradient_of_the_cell():
    image = torch.rand(2, 3, 40, 33, generator=torch.Generator().manual_seed(0))
    got = local_texture(image)
    assert got.shape == (2, 1, 40, 33)
    luma = (0.299 * image[:, 0] + 0.587 * image[:, 1] + 0.114 * image[:, 2])[1, 16:33, 16:33]
    torch.testing.assert_close(got[1, 0, 16:32, 16:32], _energy(luma).sqrt().expand(16, 16))
    assert got[1, 0, 39, 32] != got[1, 0, 39, 31]  # the border's smaller cells are cells


def _energy(luma):
    across = (luma[:16, 1:] - luma[:16, :-1]).square().mean()
    down = (luma[1:, :16] - luma[:-1, :16]).square().mean()
    return across + down


def test_the_mixture_of_textures_is_fitted_to_the_images(hr):
    mixture = fit_mixture(hr, 2, max_samples=2000, y="texture")
    assert mixture.dimension == 1
    loss = BDLoss(form="weighted", y="texture", dataroot_gt=hr, components=2, noise_sigma=0.02)
    assert torch.isfinite(loss(*torch.rand(2, 1, 3, 32, 32)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.5}, r"strength must be in 0\.\.1, got 1\.5"),
        ({"noise_sigma": 0.001}, "noise_sigma must be at least 0.005 for form: weighted, got 0.001"),
        (
            {"form": "laplace", "y": "pixel", "strength": 0.5},
            "strength goes with form: weighted alone, got form: laplace",
        ),
    ],
)
def test_wrong_options_are_refused(options, message, tmp_path):
    mixture().save(tmp_path / "m.json")
    with pytest.raises(ValueError, match=message):
        BDLoss(**{"form": "weighted", "y": "texture", "noise_sigma": 0.05, "mixture": tmp_path / "m.json", **options})


def test_a_mixture_that_no_place_of_the_table_meets_is_refused():
    narrow = GaussianMixture([1.0], [[0.1003]], [[[1e-12]]])
    with pytest.raises(ValueError, match=r"needs a mixture that is wider than 1/2048 somewhere in -1\.\.1"):
        ImportanceWeights(narrow, 0.05, 0.25)


def test_values_beyond_the_table_take_its_ends():
    weights = ImportanceWeights(mixture(), 0.05, 0.5)
    got = weights(torch.tensor([-3.0, -1.0, 1.0, 7.0]).expand(1, 1, 1, 4))
    assert torch.isfinite(got).all()
    assert got[0, 0, 0, 0] == got[0, 0, 0, 1]
    assert got[0, 0, 0, 2] == got[0, 0, 0, 3]
