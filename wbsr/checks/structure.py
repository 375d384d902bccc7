"""The keys that BasicSR reads without asking, those that must go together, and those under `path:` that would become
folders. Types and ranges are `values.py`'s."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Mapping
from typing import Any

import torch

from wbsr.checks.kinds import shown
from wbsr_base.options import suggest

_PATH_KEY = re.compile(r"(pretrain_network|param_key|strict_load)_[gd]")
_PATH_KEYS = ("resume_state", "ignore_resume_networks")
_SET_BY_BASICSR = ("root", "experiments_root", "results_root", "models", "training_states", "log", "visualization")


def check_blocks(opt: Any) -> None:
    """Raise TypeError unless all keys are texts, and the large blocks, as far as they are there, blocks of keys."""
    _check_keys(opt, "")
    for key in ("datasets", "path", "train", "val", "logger"):
        value = opt.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise TypeError(f"{key} must be a block of keys, got {shown(value)}")
    for key, dataset in (opt.get("datasets") or {}).items():
        if not isinstance(dataset, Mapping):
            raise TypeError(f"datasets:{key} must be a block of keys, got {shown(dataset)}")


def check_structure(opt: dict[str, Any], is_train: bool) -> None:
    """Raise ValueError or TypeError at the first key that is missing, or that contradicts another."""
    for key in ("name", "model_type", "num_gpu", "datasets", "path"):
        need(opt, key, "")
    if not any(key.startswith("network_") for key in opt):
        raise ValueError("the block network_g is missing: it names the architecture, such as `type: MSRResNet`")
    _check_devices(opt["num_gpu"])
    _check_path(opt)
    _check_datasets(opt, is_train)
    if is_train:
        _check_training(opt)
        if "debug" in opt["name"]:
            logging.getLogger("wbsr").warning(
                "name %r contains 'debug': BasicSR logs every iteration, validates and saves every 8", opt["name"]
            )
    _check_validation(opt, is_train)


def _check_keys(block: Any, where: str) -> None:
    if isinstance(block, Mapping):
        for key, value in block.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}{key}: a key must be a text, got {key!r}: put it in quotes")
            _check_keys(value, f"{where}{key}:")


def need(block: Mapping[str, Any], key: str, where: str) -> Any:
    """The value of a key that must be there.

    Args:
        block: the options it stands in.
        key: its name.
        where: the block's place with a colon at its end, such as `val:`, for the errors.

    Raises:
        ValueError: the key is missing.
    """
    if block.get(key) is None:
        raise ValueError(f"the key {where}{key} is missing: BasicSR needs it")
    return block[key]


def _check_devices(count: Any) -> None:
    there = torch.cuda.device_count()
    if count != "auto" and count > there:
        raise ValueError(f"num_gpu is {count}, but there are {there} CUDA devices here: write num_gpu: auto")


def _check_path(opt: Mapping[str, Any]) -> None:
    networks = [key.removeprefix("network_") for key in opt if key.startswith("network_")]
    known = [f"{kind}_{network}" for kind in ("pretrain_network", "param_key", "strict_load") for network in networks]
    for key, value in opt["path"].items():
        if key in (*_PATH_KEYS, *_SET_BY_BASICSR, *known):
            continue
        if value is None and _PATH_KEY.fullmatch(str(key)):
            continue
        raise ValueError(f"path: unknown key {key!r}{suggest(str(key), (*_PATH_KEYS, *known))}")


def _check_datasets(opt: Mapping[str, Any], is_train: bool) -> None:
    phases = ("train", "val") if is_train else ("test", "val")
    for key, dataset in opt["datasets"].items():
        if str(key).split("_")[0] not in phases:
            command = "wbsr train" if is_train else "wbsr test"
            raise ValueError(
                f"datasets: unknown key {key!r}: {command} takes {phases[0]}, {phases[1]}, {phases[1]}_2 …"
            )
        where = f"datasets:{key}:"
        need(dataset, "name", where)
        need(dataset, "type", where)
    if is_train:
        _check_loading(need(opt["datasets"], "train", "datasets:"))
        twice = [key for key in opt["datasets"] if key.startswith("train_")]
        if twice:
            raise ValueError(f"datasets: BasicSR trains on one set, datasets:train, and not on {twice[0]}")
    elif not opt["datasets"]:
        raise ValueError("datasets is empty: wbsr test needs one, such as datasets:test_1")
    names = [dataset["name"] for dataset in opt["datasets"].values()]
    for name in names:
        if names.count(name) > 1 and not is_train:
            raise ValueError(
                f"datasets: two sets are called {name!r}, and their images would be one folder: rename one"
            )


def _check_loading(train: Mapping[str, Any]) -> None:
    where = "datasets:train:"
    need(train, "batch_size_per_gpu", where)
    workers = need(train, "num_worker_per_gpu", where)
    if train.get("persistent_workers") and workers == 0:
        raise ValueError(f"{where}persistent_workers needs num_worker_per_gpu of 1 or more, got 0: leave it out")
    mode = train.get("prefetch_mode")
    if mode == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{where}prefetch_mode is cuda, but there is no CUDA device here: write prefetch_mode: ~")
    if mode == "cuda" and train.get("pin_memory") is not True:
        raise ValueError(f"{where}prefetch_mode cuda needs pin_memory: true")


def _check_training(opt: Mapping[str, Any]) -> None:
    need(need(opt, "train", ""), "total_iter", "train:")
    logger = need(opt, "logger", "")
    for key in ("print_freq", "save_checkpoint_freq", "use_tb_logger"):
        need(logger, key, "logger:")
    if (logger.get("wandb") or {}).get("project") is not None:
        if not logger["use_tb_logger"]:
            raise ValueError("logger:wandb:project needs logger:use_tb_logger: true")
        if importlib.util.find_spec("wandb") is None:
            raise ValueError(
                "logger:wandb:project needs the package wandb, which is not installed: pip install wandb, or write "
                "project: ~"
            )


def _check_validation(opt: Mapping[str, Any], is_train: bool) -> None:
    if is_train and opt.get("val") is None:
        return
    val = need(opt, "val", "")
    save = need(val, "save_img", "val:")
    if is_train:
        need(val, "val_freq", "val:")
    elif save and "suffix" not in val:
        raise ValueError(
            "the key val:suffix is missing: write `suffix: ~`, or a text to add to the names of the images"
        )
