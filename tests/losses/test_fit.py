"""Fitting the mixture: repeatable, cached, and positive definite whatever the images."""

import logging
import os

import cv2
import numpy as np
import pytest
import torch

from wbsr_losses import fit, fit_mixture


@pytest.fixture
def fits(monkeypatch):
    """Counts how often a mixture is really fitted."""
    calls = []
    real = fit._fit

    def counted(*args):
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(fit, "_fit", counted)
    return calls


@pytest.fixture
def log(tmp_path):
    """The log file of a training, which a handler on BasicSR's logger writes."""
    handler = logging.FileHandler(tmp_path / "train.log")
    logging.getLogger("basicsr").addHandler(handler)
    yield tmp_path / "train.log"
    logging.getLogger("basicsr").removeHandler(handler)
    handler.close()


def same(one, other):
    return all(torch.equal(one.state_dict()[name], value) for name, value in other.state_dict().items())


def test_the_same_images_and_seed_give_the_same_mixture(hr):
    one, again, other = (fit_mixture(hr, 3, max_samples=2000, seed=seed, cache=False) for seed in (1, 1, 2))
    assert same(one, again)
    assert not same(one, other)


def test_it_finds_the_colours_of_the_images(tmp_path):
    (tmp_path / "two").mkdir()
    rng = np.random.default_rng(0)
    for name, colour in (("red", (0.1, 0.1, 0.9)), ("sea", (0.7, 0.5, 0.2))):  # BGR
        image = (255 * (colour + 0.02 * rng.normal(size=(50, 50, 3)))).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "two" / f"{name}.png"), image)
    mixture = fit_mixture(tmp_path / "two", 2, max_samples=4000)
    means = mixture.means[mixture.means[:, 0].argsort()]
    torch.testing.assert_close(means, torch.tensor([[0.2, 0.5, 0.7], [0.9, 0.1, 0.1]]), atol=0.01, rtol=0)
    torch.testing.assert_close(mixture.weights, torch.tensor([0.5, 0.5]), atol=0.01, rtol=0)
    stds = mixture.covariances.diagonal(dim1=-2, dim2=-1).sqrt()
    torch.testing.assert_close(stds, torch.full((2, 3), 0.02), atol=0.005, rtol=0)


def test_a_second_fit_comes_from_the_cache(hr, fits, tmp_path):
    one = fit_mixture(hr, 3, max_samples=1000)
    again = fit_mixture(hr, 3, max_samples=1000)
    assert len(fits) == 1
    assert same(one, again)
    assert len(list((tmp_path / ".cache" / "wbsr").iterdir())) == 1


def test_the_cache_knows_settings_and_images(hr, fits):
    fit_mixture(hr, 3, max_samples=1000)
    fit_mixture(hr, 2, max_samples=1000)
    fit_mixture(hr, 3, "diagonal", max_samples=1000)
    fit_mixture(hr, 3, max_samples=999)
    fit_mixture(hr, 3, max_samples=1000, seed=1)
    assert len(fits) == 5
    os.utime(hr / "0.png", ns=(0, 0))
    fit_mixture(hr, 3, max_samples=1000)
    (hr / "1.png").unlink()
    fit_mixture(hr, 3, max_samples=1000)
    assert len(fits) == 7


def test_a_damaged_cache_is_mended_and_said_in_the_log_file(hr, fits, tmp_path, log):
    one = fit_mixture(hr, 2, max_samples=500)
    (file,) = (tmp_path / ".cache" / "wbsr").iterdir()
    file.write_text("{")
    assert same(fit_mixture(hr, 2, max_samples=500), one)
    assert "fitting the mixture again" in log.read_text()
    fit_mixture(hr, 2, max_samples=500)
    assert len(fits) == 2


def test_a_cache_that_cannot_be_written_costs_only_a_warning(hr, tmp_path, log):
    (tmp_path / "file").write_text("not a folder")
    assert fit_mixture(hr, 2, max_samples=500, cache_dir=tmp_path / "file" / "cache").components == 2
    assert "can't be cached" in log.read_text()


@pytest.mark.parametrize("covariance", ["full", "diagonal", "spherical"])
def test_one_colour_alone_stays_positive_definite(tmp_path, covariance):
    (tmp_path / "white").mkdir()
    cv2.imwrite(str(tmp_path / "white" / "x.png"), np.full((32, 32, 3), 255, np.uint8))
    mixture = fit_mixture(tmp_path / "white", 3, covariance, max_samples=500)
    least = torch.linalg.eigvalsh(mixture.covariances).min().item()
    assert least == pytest.approx((1 / 255) ** 2, rel=0.01)
    assert torch.isfinite(mixture.log_prob(torch.rand(10, 3))).all()


def test_the_shape_of_the_covariances_is_as_asked(hr):
    diagonal = fit_mixture(hr, 2, "diagonal", max_samples=500).covariances
    assert torch.equal(diagonal, diagonal * torch.eye(3))
    spherical = fit_mixture(hr, 2, "spherical", max_samples=500).covariances
    assert torch.equal(spherical, spherical[:, :1, :1] * torch.eye(3))
    full = fit_mixture(hr, 2, "full", max_samples=500).covariances
    assert not torch.equal(full, full * torch.eye(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"components": 0}, "components must be a whole number of at least 1, got 0"),
        ({"components": "bic"}, "components must be .* got 'bic'"),
        ({"covariance": "diag"}, "covariance must be one of full, diagonal, spherical, got 'diag'"),
        ({"y": "colour"}, "y must be one of pixel, residual, texture, got 'colour'"),
        ({"max_samples": 0}, r"max_samples must be in 1\.\.1000000, got 0"),
        ({"max_samples": 2_000_000}, r"max_samples must be in 1\.\.1000000"),
        ({"max_samples": 5}, "max_samples must be at least components = 8, got 5 pixels"),
    ],
)
def test_settings_out_of_range_are_refused(hr, settings, message):
    with pytest.raises(ValueError, match=message):
        fit_mixture(hr, **settings)
