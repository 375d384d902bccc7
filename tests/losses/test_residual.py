"""The residual over the bicubic base: what it is, and what `BDLoss` makes of it with and without the LR image."""

import cv2
import numpy as np
import pytest
import torch

from wbsr_losses import BDLoss, GaussianMixture, fit_mixture
from wbsr_losses.functional import bd_loss_gaussian
from wbsr_losses.pixels import list_images, sample_pixels
from wbsr_losses.residual import bicubic_base


@pytest.fixture
def file(tmp_path):
    """A mixture of two kinds of residual."""
    covariances = torch.tensor([1e-4, 1e-2])[:, None, None] * torch.eye(3)
    GaussianMixture([0.7, 0.3], torch.zeros(2, 3), covariances).save(tmp_path / "residual.json")
    return str(tmp_path / "residual.json")


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    pred = torch.rand(2, 3, 16, 12, generator=generator).requires_grad_()
    return pred, torch.rand(2, 3, 16, 12, generator=generator), torch.rand(2, 3, 4, 3, generator=generator)


def test_the_base_is_matlabs_bicubic_inside():
    from basicsr.utils.matlab_functions import imresize

    hr = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    image = hr[0].permute(1, 2, 0).numpy()
    expected = imresize(imresize(image, 1 / 4), 4)
    got = bicubic_base(hr, 4)[0].permute(1, 2, 0).numpy()
    assert np.abs(got - expected)[16:-16, 16:-16].max() < 1e-5
    smooth = torch.linspace(0, 1, 64)[:, None].expand(1, 3, 64, 48)
    assert (bicubic_base(smooth, 4) - smooth)[..., 16:-16, :].abs().max() < 1e-5


def test_the_loss_takes_the_lr_image_where_it_is_given_one_and_else_the_targets_own(file):
    pred, target, lr = images()
    loss = BDLoss(form="gaussian", mixture=file, y="residual", scale=4, noise_sigma=0.05)
    assert loss.needs_lq
    mixture = GaussianMixture.load(file)
    for given, base in ((lr, bicubic_base(target, 4, lr)), (None, bicubic_base(target, 4))):
        expected = bd_loss_gaussian(pred - base, target - base, mixture, 0.05).mean()
        torch.testing.assert_close(loss(pred, target, lq=given), expected)
    assert loss(pred, target, lq=lr) != loss(pred, target)


def test_the_gradient_is_that_of_the_prediction_alone(file):
    pred, target, lr = images()
    target.requires_grad_()
    BDLoss(mixture=file, y="residual", scale=4, noise_sigma=0.05)(pred, target.detach(), lq=lr).backward()
    assert torch.isfinite(pred.grad).all()
    assert (pred.grad != 0).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": "residual"}, "y: residual needs scale, by which HR is larger than LR, got scale: None"),
        ({"scale": 4}, "y: pixel knows no scale: remove it, got scale: 4"),
        ({"y": "residual", "scale": 1}, "scale must be at least 2, got 1"),
        ({"y": "gradient"}, "y must be one of pixel, residual, texture, got 'gradient'"),
    ],
)
def test_wrong_options_are_refused(options, message, file):
    with pytest.raises(ValueError, match=message):
        BDLoss(mixture=file, **options)


def test_sizes_that_do_not_fit_the_scale_are_refused(file):
    pred, target, lr = images()
    with pytest.raises(ValueError, match="must be multiples of scale = 5, got 16 x 12"):
        BDLoss(mixture=file, y="residual", scale=5)(pred, target)
    with pytest.raises(ValueError, match=r"the LR image must be \(2, 3, 8, 6\) for scale = 2, got \(2, 3, 4, 3\)"):
        BDLoss(mixture=file, y="residual", scale=2)(pred, target, lq=lr)


def test_sampled_residuals_are_small_where_images_are_smooth(tmp_path):
    rng = np.random.default_rng(0)
    for name, image in (
        ("smooth", np.repeat(np.linspace(0, 255, 40)[:, None, None], 40, 1).repeat(3, 2)),
        ("texture", rng.integers(0, 256, (40, 40, 3))),
    ):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "x.png"), image.astype(np.uint8))
    smooth, texture = (sample_pixels(list_images(tmp_path / n), 500, 0, "residual", 4) for n in ("smooth", "texture"))
    assert smooth.std() < 0.02 < 0.2 < texture.std()
    assert abs(texture.mean()) < 0.05
    assert texture.min() >= -1.5
    np.testing.assert_array_equal(smooth, sample_pixels(list_images(tmp_path / "smooth"), 500, 0, "residual", 4))


def test_residuals_are_rgb(tmp_path):
    (tmp_path / "red").mkdir()
    image = np.full((16, 16, 3), 128, np.uint8)
    image[..., 2] = np.random.default_rng(0).integers(0, 256, (16, 16))  # BGR: red alone varies
    cv2.imwrite(str(tmp_path / "red" / "x.png"), image)
    stds = sample_pixels(list_images(tmp_path / "red"), 500, 0, "residual", 2).std(0)
    assert stds[0] > 0.1
    assert (stds[1:] < 1e-3).all()


def test_an_image_smaller_than_the_scale_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "dot.png"), np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"the image .*dot\.png is smaller than scale = 4"):
        sample_pixels(list_images(tmp_path / "a"), 10, 0, "residual", 4)


def test_pixel_and_residual_mixtures_are_cached_apart(hr, tmp_path):
    pixel, residual = fit_mixture(hr, 2, max_samples=500), fit_mixture(hr, 2, max_samples=500, y="residual", scale=2)
    assert len(list((tmp_path / ".cache" / "wbsr").iterdir())) == 2
    assert (residual.means.abs() < 0.1).all()
    assert not (pixel.means.abs() < 0.1).all()


def test_it_drops_into_a_stock_model_that_passes_no_lr_image(hr):
    from basicsr.losses import build_loss

    loss = build_loss({"type": "BDLoss", "dataroot_gt": str(hr), "components": 2, "y": "residual", "scale": 2})
    pred, target, _ = images()
    loss(pred, target).backward()
    assert torch.isfinite(pred.grad).all()
