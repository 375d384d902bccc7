"""A folder of small HR images, made for each test."""

import cv2
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Each test has a current directory of its own, and with it a cache."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def hr(tmp_path):
    """Four images of colour gradients with noise, and one that is white all over."""
    folder = tmp_path / "hr"
    folder.mkdir()
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 48)[:, None]
    for number in range(4):
        low, high = rng.integers(0, 256, (2, 3))
        image = low + ramp[:, None] * (high - low) + rng.normal(0, 8, (48, 40, 3))
        cv2.imwrite(str(folder / f"{number}.png"), image.clip(0, 255).astype(np.uint8))
    cv2.imwrite(str(folder / "white.png"), np.full((32, 32, 3), 255, np.uint8))
    return folder
