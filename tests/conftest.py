"""Tests marked `gpu` run where there is a CUDA device and are skipped elsewhere. The processes of `pytest -n` share the
cores with each other and with the commands that they start."""

import os

import pytest
import torch


def pytest_configure(config):
    if hasattr(config, "workerinput"):
        threads = max(1, os.cpu_count() // config.workerinput["workercount"])
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        torch.set_num_threads(threads)


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
