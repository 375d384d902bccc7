"""Scores of patches: by hand, by loops, and the same alone as inside an image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wbsr_data.gradient import gradient_score, gradient_vector, patch_positions


def photo(height, width, channels=3, seed=0):
    """8-bit noise as float, the hardest case for rounding."""
    values = np.random.default_rng(seed).integers(0, 256, (channels, height, width))
    return torch.from_numpy(values.astype(np.float32) / 255)


def loop_vector(patch):
    """The four numbers of one patch from its pixels, in plain numpy."""
    weights = np.array([0.299, 0.587, 0.114] if len(patch) == 3 else [1.0])
    luma = np.tensordot(weights, patch.double().numpy(), 1)
    parts = []
    for gradient in (np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))):
        parts += [gradient.mean(), gradient.std()] if gradient.size else [0.0, 0.0]
    return parts


def test_vertical_step_by_hand():
    x = torch.zeros(1, 4, 4)
    x[..., 2:] = 1.0  # 4 of the 12 horizontal pairs differ by 1
    assert gradient_score(x, 4).item() == pytest.approx((4 / 12) ** 0.5)
    mean_h, std_h, mean_v, std_v = gradient_vector(x, 4)[0, 0].tolist()
    assert (mean_h, std_h) == pytest.approx((1 / 3, (1 / 3 - 1 / 9) ** 0.5))
    assert (mean_v, std_v) == (0.0, 0.0)


def test_luma_weights_are_bt601():
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        x = torch.zeros(3, 1, 2)
        x[channel, 0, 1] = 1.0
        assert gradient_score(x, 8).item() == pytest.approx(weight, abs=2e-6)


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    patch=st.integers(1, 12),
    stride=st.integers(1, 13),
    channels=st.sampled_from([1, 3]),
)
def test_equals_a_loop_over_the_patches(height, width, patch, stride, channels):
    x = photo(height, width, channels)
    rows = patch_positions(height, patch, stride).tolist()
    cols = patch_positions(width, patch, stride).tolist()
    expected = np.array([[loop_vector(x[:, r : r + patch, c : c + patch]) for c in cols] for r in rows])
    vector = gradient_vector(x, patch, stride)
    np.testing.assert_allclose(vector.numpy(), expected, atol=2e-5)
    np.testing.assert_allclose(gradient_score(x, patch, stride).numpy(), np.linalg.norm(expected, axis=-1), atol=2e-5)


def test_the_parts_of_the_score_are_norms_of_means_and_deviations():
    x = photo(40, 50)
    vector = gradient_vector(x, 16, 5)
    torch.testing.assert_close(gradient_score(x, 16, 5, "mean"), vector[..., [0, 2]].norm(dim=-1))
    torch.testing.assert_close(gradient_score(x, 16, 5, "std"), vector[..., [1, 3]].norm(dim=-1))
    with pytest.raises(ValueError, match="part must be one of norm, mean, std, got 'max'"):
        gradient_score(x, 16, 5, "max")


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), patch=st.integers(1, 16), seed=st.integers(0, 99))
def test_norm_of_the_vector_is_the_score(height, width, patch, seed):
    x = photo(height, width, seed=seed)
    torch.testing.assert_close(
        gradient_vector(x, patch, 3).norm(dim=-1), gradient_score(x, patch, 3), atol=1e-6, rtol=1e-5
    )


def test_a_patch_scores_the_same_alone_and_inside_bit_for_bit():
    x = photo(200, 300)
    inside = gradient_score(x, 32, 7)
    rows, cols = patch_positions(200, 32, 7), patch_positions(300, 32, 7)
    for i, j in ((0, 0), (3, 11), (len(rows) - 1, len(cols) - 1)):
        alone = gradient_score(x[:, rows[i] : rows[i] + 32, cols[j] : cols[j] + 32], 32)
        assert alone.item() == inside[i, j].item()


def test_a_batch_scores_as_its_images():
    batch = torch.stack([photo(40, 50, seed=s) for s in range(3)])
    assert torch.equal(gradient_score(batch, 16), torch.stack([gradient_score(x, 16) for x in batch]))
    assert gradient_vector(batch, 16).shape == (3, 3, 4, 4)


def test_grey_equals_three_equal_channels():
    x = photo(32, 32, 1)
    torch.testing.assert_close(gradient_score(x, 16), gradient_score(x.expand(3, -1, -1), 16), atol=4e-6, rtol=0)


def test_flat_images_and_single_pixels_score_zero():
    assert gradient_score(torch.full((3, 20, 20), 0.3), 8).eq(0).all()
    assert gradient_score(photo(1, 1), 8).tolist() == [[0.0]]
    assert gradient_vector(photo(9, 9), 1).eq(0).all()


@pytest.mark.parametrize(
    ("length", "patch", "stride", "expected"),
    [
        (10, 4, 4, [0, 4, 6]),
        (8, 4, 4, [0, 4]),
        (3, 4, 4, [0]),
        (4, 4, 1, [0]),
        (6, 4, 1, [0, 1, 2]),
        (9, 2, 5, [0, 5, 7]),
    ],
)
def test_positions_cover_the_side_with_the_last_shifted_inwards(length, patch, stride, expected):
    assert patch_positions(length, patch, stride).tolist() == expected


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match=r"C = 1 or 3, got \(2, 8, 8\)"):
        gradient_score(torch.zeros(2, 8, 8), 4)
    with pytest.raises(TypeError, match="divide 8-bit values by 255"):
        gradient_score(torch.zeros(3, 8, 8, dtype=torch.uint8), 4)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        gradient_score(torch.zeros(3, 8, 8), 4, 0)
    with pytest.raises(ValueError, match="patch_size must be at least 1, got 0"):
        gradient_vector(torch.zeros(3, 8, 8), 0)


@pytest.mark.gpu
def test_cpu_and_gpu_agree_bit_for_bit():
    x = photo(540, 960)
    assert torch.equal(gradient_score(x, 32, 8), gradient_score(x.cuda(), 32, 8).cpu())
