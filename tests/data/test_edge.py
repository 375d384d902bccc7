"""ARM's edge score: OpenCV's of each patch alone, for all patches at once, on every device."""

import cv2
import numpy as np
import pytest
import torch

from wbsr_data import edge_score, gradient_score
from wbsr_data.gradient import patch_positions


def image(height, width, channels=1, seed=0):
    """8-bit levels, flat on the left and noise on the right: uint8 (H, W, C)."""
    noise = np.random.default_rng(seed).integers(-128, 128, (height, width, channels))
    return (128 + noise * np.linspace(0, 1, width)[:, None] ** 2).clip(0, 255).astype(np.uint8)


def to_tensor(pixels):
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255


def reference(grey, patch_size, stride):
    """ARM's score, patch by patch, by OpenCV: grey uint8 (H, W)."""
    rows, cols = (patch_positions(side, patch_size, stride).tolist() for side in grey.shape)
    result = np.empty((len(rows), len(cols)))
    for i, y in enumerate(rows):
        for j, x in enumerate(cols):
            patch = np.ascontiguousarray(grey[y : y + patch_size, x : x + patch_size])
            result[i, j] = cv2.convertScaleAbs(cv2.Laplacian(patch, cv2.CV_16S, ksize=3)).mean() / 255
    return result


@pytest.mark.parametrize(
    ("height", "width", "patch_size", "stride"),
    [(40, 56, 8, 8), (37, 53, 16, 5), (9, 7, 8, 8), (5, 6, 8, 3), (4, 9, 2, 1)],
)
def test_it_is_opencvs_of_each_patch(height, width, patch_size, stride):
    pixels = image(height, width)
    found = edge_score(to_tensor(pixels), patch_size, stride)
    assert found.dtype == torch.float32
    assert found.numpy() == pytest.approx(reference(pixels[..., 0], patch_size, stride), abs=1e-7)


def test_colour_is_scored_by_its_luma_in_whole_levels():
    pixels = image(32, 48, channels=3)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    undecided = np.abs(luma % 1 - 0.5) < 0.01  # which whole level is nearest depends on how luma is computed
    pixels[undecided], luma[undecided] = 128, 128
    found = edge_score(to_tensor(pixels), 8).numpy()
    assert found == pytest.approx(reference(np.rint(luma).astype(np.uint8), 8, 8), abs=1e-7)
    assert found == pytest.approx(reference(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), 8, 8), abs=1e-7)


def test_by_hand():
    x = torch.zeros(1, 4, 4)
    x[0, 1, 1] = 10 / 255
    # Rows and columns -1..4 are 1, 0, 1, 2, 3, 2. (1, 1) itself gives 80; (0, 0) has it as all four neighbours, (0, 2)
    # and (2, 0) as two, (2, 2) as one, of 20 each.
    expected = (80 + 4 * 20 + 2 * 2 * 20 + 20) / 16 / 255
    assert float(edge_score(x, 4)) == pytest.approx(expected, abs=1e-7)


def test_a_patch_scores_the_same_alone_and_inside():
    x = to_tensor(image(40, 40, channels=3))
    whole = edge_score(x, 16, 4)
    assert float(edge_score(x[:, 8:24, 12:28], 16)) == float(whole[2, 3])


def test_it_stays_in_its_range():
    board = torch.from_numpy(np.indices((16, 16)).sum(0) // 2 % 2)[None].float()
    assert 0 < float(edge_score(board, 16)) <= 1
    assert edge_score(torch.full((3, 20, 20), 0.3), 8).tolist() == [[0.0] * 3] * 3
    assert edge_score(torch.rand(1, 1, 1), 8).tolist() == [[0.0]]


def test_a_batch_is_its_images_on_the_grid_of_the_gradient_score():
    x = torch.stack([to_tensor(image(20, 30, 3, seed)) for seed in range(2)])
    found = edge_score(x, 8)
    assert found.shape == gradient_score(x, 8).shape
    assert torch.equal(found, torch.stack([edge_score(one, 8) for one in x]))


@pytest.mark.gpu
def test_the_gpu_agrees_bit_for_bit():
    x = torch.rand(3, 123, 77, generator=torch.Generator().manual_seed(0))
    assert torch.equal(edge_score(x.cuda(), 16, 5).cpu(), edge_score(x, 16, 5))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"with C = 1 or 3, got \(2, 8, 8\)"):
        edge_score(torch.rand(2, 8, 8), 4)
    with pytest.raises(TypeError, match=r"of a float type, range 0-1, got torch.uint8"):
        edge_score(torch.zeros(3, 8, 8, dtype=torch.uint8), 4)
    with pytest.raises(ValueError, match="patch_size must be at least 1, got 0"):
        edge_score(torch.rand(3, 8, 8), 0)
