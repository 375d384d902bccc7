"""The error table holds what every subnet really does to every class, measured on a bounded, repeatable choice."""

import logging

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wbsr_arch import Supernet
from wbsr_base.pixels.bicubic import resize
from wbsr_data.edge import edge_score
from wbsr_data.gradient import gradient_score
from wbsr_models import Profile
from wbsr_models.testing.calibration import CalibrationSettings, calibrate

PATCH = 8
NETWORK = {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 2}


@pytest.fixture(scope="module")
def supernet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Supernet(NETWORK, widths=[4, 8], depths=[1, 2]).eval()


@pytest.fixture(scope="module")
def images():
    """From flat to textured; the last two rows and columns fit no multiple of the scale or of the patch."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 51, 69, 3)) - 128
    ramp = np.linspace(0, 0.9, 69)[None, :, None]
    return [
        (128 + part * ramp**2 * (number + 1) / 3).clip(0, 255).astype(np.uint8) for number, part in enumerate(noise)
    ]


def reference(supernet, images, bounds):
    """Every patch of every image under dense runs of every subnet: classes and squared errors."""
    classes, errors = [], []
    for image in images:
        hr = image[:50, :68]
        lr = torch.from_numpy(resize(hr, 0.5)).permute(2, 0, 1).float() / 255
        truth = torch.from_numpy(np.ascontiguousarray(hr)).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            runs = [supernet(lr[None], subnet)[0].clamp(0, 1) for subnet in supernet.subnets]
        scores = gradient_score(lr, PATCH)
        for i, row in enumerate([0, 8, 16, 17]):
            for j, col in enumerate([0, 8, 16, 24, 26]):
                part = (slice(None), slice(2 * row, 2 * row + 16), slice(2 * col, 2 * col + 16))
                classes.append(sum(float(scores[i, j]) >= bound for bound in bounds))
                errors.append([float(F.mse_loss(run[part], truth[part])) for run in runs])
    return np.array(classes), np.array(errors)


def test_the_table_is_what_dense_runs_give_when_every_patch_is_measured(supernet, images):
    settings = CalibrationSettings(patches=10**6, halo=40, num_classes=3)
    found = calibrate(supernet, lambda number: images[number], 3, Profile(PATCH), settings)
    classes, errors = reference(supernet, images, found.profile.thresholds)
    assert found.measured == tuple(np.bincount(classes))
    assert min(found.measured) == 20
    assert found.profile.class_shares == pytest.approx(np.bincount(classes) / 60)
    expected = np.array([errors[classes == k].mean(axis=0) for k in range(3)])
    assert np.allclose(found.profile.error_table, expected, rtol=1e-4)


def test_thresholds_of_the_training_are_kept(supernet, images):
    found = calibrate(supernet, lambda number: images[number], 3, Profile(PATCH, (0.05, 0.1)))
    assert found.profile.thresholds == (0.05, 0.1)
    assert len(found.profile.error_table) == 3


def test_the_work_is_bounded_and_repeats_with_its_seed(supernet, images):
    loaded = []

    def load(number):
        loaded.append(number)
        return images[number % 3]

    settings = CalibrationSettings(patches=12, images=4, num_classes=3, seed=5)
    first = calibrate(supernet, load, 50, Profile(PATCH), settings)
    assert sum(first.measured) <= 12
    assert len(set(loaded)) == 4
    assert calibrate(supernet, load, 50, Profile(PATCH), settings) == first
    other = CalibrationSettings(patches=12, images=4, num_classes=3, seed=6)
    assert calibrate(supernet, load, 50, Profile(PATCH), other) != first


def test_a_class_without_patches_takes_over_its_neighbour(supernet, images, caplog):
    with caplog.at_level(logging.WARNING):
        found = calibrate(supernet, lambda number: images[number], 3, Profile(PATCH, (0.1, 5.0, 6.0)))
    assert found.measured[2:] == (0, 0)
    assert (
        found.profile.error_table[3]
        == found.profile.error_table[2]
        == found.profile.error_table[1]
        != found.profile.error_table[0]
    )
    assert "No patch of class 3, 4 was found" in caplog.text


def test_images_smaller_than_a_patch_are_passed_over(supernet, images):
    small = np.zeros((15, 60, 3), np.uint8)
    found = calibrate(supernet, lambda number: [images[0], small][number], 2, Profile(PATCH, (0.1,)))
    assert (
        found.profile.class_shares
        == calibrate(supernet, lambda number: images[0], 1, Profile(PATCH, (0.1,))).profile.class_shares
    )
    with pytest.raises(ValueError, match="HR images must be at least 16 pixels high and wide for one patch, got 1"):
        calibrate(supernet, lambda number: small, 1, Profile(PATCH, (0.1,)))


def test_the_edge_table_is_the_mean_psnr_of_equal_ranges_of_the_edge_score(supernet, images):
    settings = CalibrationSettings(patches=10**6, halo=40, edge_bins=4)
    found = calibrate(supernet, lambda number: images[number], 3, Profile(PATCH, (0.1,)), settings)
    _, errors = reference(supernet, images, ())
    interpolated, edges = [], []
    for image in images:
        hr = image[:50, :68]
        lr = torch.from_numpy(resize(hr, 0.5)).permute(2, 0, 1).float() / 255
        truth = torch.from_numpy(np.ascontiguousarray(hr)).permute(2, 0, 1).float() / 255
        error = (F.interpolate(lr[None], scale_factor=2, mode="bicubic", antialias=True)[0].clamp(0, 1) - truth) ** 2
        edges += edge_score(lr, PATCH).flatten().tolist()
        for row in (0, 8, 16, 17):
            interpolated += [
                float(error[:, 2 * row : 2 * row + 16, 2 * col : 2 * col + 16].mean()) for col in (0, 8, 16, 24, 26)
            ]
    psnr = -10 * np.log10(np.column_stack([interpolated, errors]).clip(1e-8))
    low, high = min(edges), max(edges)
    bounds = low + (high - low) * np.array([0.25, 0.5, 0.75])
    assert found.profile.edge_table.bounds == pytest.approx(bounds)
    bins = np.searchsorted(np.float32(bounds), np.float32(edges), side="right")
    assert set(bins) == {0, 1, 2, 3}
    expected = [psnr[bins == number].mean(axis=0) for number in range(4)]
    assert np.allclose(found.profile.edge_table.psnr, expected, atol=1e-3)


def test_a_patch_without_error_counts_as_80_db_and_an_empty_bin_takes_over_its_neighbour(supernet, images, caplog):
    flat = np.full((32, 32, 3), 128, np.uint8)
    noise = images[2][:32, -32:]
    settings = CalibrationSettings(edge_bins=8)
    with caplog.at_level(logging.WARNING):
        found = calibrate(
            supernet, lambda number: [flat, noise][number], 2, Profile(PATCH, (0.1,)), settings
        ).profile.edge_table
    assert found.psnr[0][0] == pytest.approx(80, abs=0.1)
    assert found.psnr[1] in (found.psnr[0], found.psnr[2])
    assert "No patch of bin " in caplog.text
    assert calibrate(supernet, lambda number: flat, 1, Profile(PATCH, (0.1,))).profile.edge_table is None
    with pytest.raises(ValueError, match="edge_bins must be at most the number of patches found, got 8 bins for 4"):
        calibrate(supernet, lambda number: flat, 1, Profile(PATCH, (0.1,)), settings)


@pytest.mark.parametrize(("name", "value"), [("patches", 0), ("images", 0), ("halo", -1), ("num_classes", 1)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least {value + 1}, got {value}"):
        CalibrationSettings(**{name: value})
