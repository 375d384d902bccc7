"""Tests marked `gpu` run where there is a CUDA device and are skipped elsewhere. The processes of `pytest -n` share the
cores with each other and with the commands that they start.

Also tiny trainings with BasicSR's own SRModel: generated images, an option dict, and a process that runs it."""

import os
import textwrap

import cv2
import numpy as np
import pytest
import starting
import torch
import yaml


def pytest_configure(config):
    if hasattr(config, "workerinput"):
        threads = max(1, os.cpu_count() // config.workerinput["workercount"])
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        torch.set_num_threads(threads)


@pytest.fixture
def three_threads():
    """Torch computes with three threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def images(tmp_path):
    """Write `count` HR/LR pairs at x2, the HR ones of `size` pixels, to data/hr and data/lr under the test's folder."""

    def write(count=10, size=32):
        rng = np.random.default_rng(0)
        for name, side in (("hr", size), ("lr", size // 2)):
            folder = tmp_path / "data" / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                cv2.imwrite(str(folder / f"{i:02}.png"), rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        return tmp_path

    return write


@pytest.fixture
def options():
    """A correct option file for a training, as a dict; its folders are relative to the test's folder."""
    roots = {"dataroot_gt": "data/hr", "dataroot_lq": "data/lr", "io_backend": {"type": "disk"}}
    return {
        "name": "tiny",
        "model_type": "SRModel",
        "scale": 2,
        "num_gpu": "auto",
        "manual_seed": 0,
        "datasets": {
            "train": {
                "name": "train",
                "type": "PairedImageDataset",
                **roots,
                "gt_size": 16,
                "use_hflip": True,
                "use_rot": False,
                "num_worker_per_gpu": 0,
                "batch_size_per_gpu": 4,
                "dataset_enlarge_ratio": 4,
                "prefetch_mode": None,
            },
            "val": {"name": "val", "type": "PairedImageDataset", **roots},
        },
        "network_g": {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2},
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "ema_decay": 0.9,
            "optim_g": {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [15], "gamma": 0.5},
            "total_iter": 20,
            "warmup_iter": -1,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "val": {
            "val_freq": 10,
            "save_img": True,
            "metrics": {
                "psnr": {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True},
                "ssim": {"type": "calculate_ssim", "crop_border": 2, "test_y_channel": True},
            },
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 5, "use_tb_logger": True, "wandb": {"project": None}},
        "dist_params": {"backend": "nccl", "port": 29500},
    }


@pytest.fixture
def write_options(tmp_path):
    """Write an option dict to options.yml under the test's folder."""

    def write(options):
        path = tmp_path / "options.yml"
        # safe_dump writes 0.0002 and not 2e-4, which YAML would read as text
        path.write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def python_server():
    starting.serve()


@pytest.fixture
def start_python(python_server, tmp_path):
    """Start what `python COMMAND` does in the test's folder, or in another; it ends with the test."""
    processes = []

    def start(*command, folder=tmp_path, **environment):
        processes.append(starting.Started([str(part) for part in command], folder, environment))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.stdout.close()


@pytest.fixture
def start_program(start_python, tmp_path):
    """Start a program that is given as text, in the test's folder or in another; it ends with the test."""
    path = tmp_path / "program.py"

    def start(text, *arguments, **how):
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return start_python(path, *arguments, **how)

    return start
