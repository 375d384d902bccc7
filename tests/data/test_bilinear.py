"""The error of bilinear upsampling against a loop over the patches, with OpenCV's upsampling."""

import cv2
import numpy as np
import pytest
import torch

from wbsr_data.bilinear import bilinear_error
from wbsr_data.gradient import patch_positions


@pytest.mark.parametrize(
    ("height", "width", "scale", "patch", "stride"), [(20, 31, 2, 8, 3), (9, 7, 3, 8, 8), (6, 6, 4, 9, 2)]
)
def test_equals_a_loop_over_the_patches(height, width, scale, patch, stride):
    rng = np.random.default_rng(0)
    lr = rng.random((height, width, 3)).astype(np.float32)
    hr = rng.random((scale * height, scale * width, 3)).astype(np.float32)
    error = (cv2.resize(lr, (scale * width, scale * height), interpolation=cv2.INTER_LINEAR) - hr) ** 2
    side = scale * patch
    expected = [
        [
            error[scale * y : scale * y + side, scale * x : scale * x + side].mean() ** 0.5
            for x in patch_positions(width, patch, stride).tolist()
        ]
        for y in patch_positions(height, patch, stride).tolist()
    ]
    tensors = (torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in (lr, hr))
    np.testing.assert_allclose(bilinear_error(*tensors, patch, stride).numpy(), expected, atol=1e-5)


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"whole multiple of lr \(3, 8, 8\), got \(3, 16, 17\)"):
        bilinear_error(torch.zeros(3, 8, 8), torch.zeros(3, 16, 17), 4)
