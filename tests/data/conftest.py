"""Folders of small LR/HR pairs, made for each test."""

import cv2
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Each test has a current directory of its own, and with it a cache."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pairs(tmp_path):
    """Six x2 pairs: noise whose strength grows from image to image, and within an image from left to right."""
    rng = np.random.default_rng(0)
    for side in ("hr", "lr"):
        (tmp_path / side).mkdir()
    for number in range(6):
        hr = rng.normal(0, 1, (96, 128, 3)) * np.linspace(1, 10 + 10 * number, 128)[:, None] + 128
        write_pair(tmp_path, f"{number}.png", hr.clip(0, 255).astype(np.uint8))
    return tmp_path


def write_pair(folder, name, hr, lr=None):
    """Write an HR image, and its x2 LR image by picking every second pixel."""
    cv2.imwrite(str(folder / "hr" / name), hr)
    cv2.imwrite(str(folder / "lr" / name), hr[::2, ::2] if lr is None else lr)


def options(folder, hes=None, **more):
    """Options of a training set over `pairs`."""
    return {
        "name": "set",
        "phase": "train",
        "scale": 2,
        "dataroot_gt": str(folder / "hr"),
        "dataroot_lq": str(folder / "lr"),
        "io_backend": {"type": "disk"},
        "gt_size": 32,
        "use_hflip": True,
        "use_rot": True,
        "hes": {"num_classes": 4, **(hes or {})},
        **more,
    }


@pytest.fixture(name="write_pair")
def _write_pair():
    return write_pair


@pytest.fixture(name="options")
def _options():
    return options
