"""The keys that BasicSR reads without asking, and the keys under `path:` that it would turn into folders."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch

from wbsr_base.options import suggest

_NUMBER = (int, float)
_PATH_KEY = re.compile(r"(pretrain_network|param_key|strict_load)_(\w+)")
_PATH_KEYS = ("resume_state", "ignore_resume_networks")
_SET_BY_BASICSR = ("root", "experiments_root", "results_root", "models", "training_states", "log", "visualization")


def check_structure(opt: dict[str, Any], is_train: bool) -> None:
    """Raise ValueError or TypeError at the first key that is missing, of another type, or out of its range."""
    for key, kind in (("name", str), ("model_type", str), ("datasets", dict), ("path", dict)):
        need(opt, key, "", kind)
    if not any(key.startswith("network_") for key in opt):
        raise ValueError("the block network_g is missing: it names the architecture, such as `type: MSRResNet`")
    _check_devices(opt)
    _check_path(opt)
    _check_datasets(opt, is_train)
    if is_train:
        _check_training(opt)
        if "debug" in opt["name"]:
            logging.getLogger("wbsr").warning(
                "name %r contains 'debug': BasicSR logs every iteration, validates and saves every 8", opt["name"]
            )
    _check_validation(opt, is_train)


def need(block: Mapping[str, Any], key: str, where: str, kind: type | tuple[type, ...]) -> Any:
    """The value of a key that must be there.

    Args:
        block: the options it stands in.
        key: its name.
        where: the block's place with a colon at its end, such as `val:`, for the errors.
        kind: what the value must be; numbers must be positive.

    Raises:
        ValueError: the key is missing, or a number is not positive.
        TypeError: the value is of another type.
    """
    if key not in block:
        raise ValueError(f"the key {where}{key} is missing: BasicSR needs it")
    value = block[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        name = {str: "a text", dict: "a block of keys", bool: "true or false", int: "a whole number"}
        raise TypeError(f"{where}{key} must be {name.get(kind, 'a number')}, got {value!r}")  # type: ignore[arg-type]
    if isinstance(value, _NUMBER) and not isinstance(value, bool) and value <= 0:
        raise ValueError(f"{where}{key} must be above 0, got {value}")
    return value


def _check_devices(opt: Mapping[str, Any]) -> None:
    count, there = opt.get("num_gpu"), torch.cuda.device_count()
    if count == "auto":
        return
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"num_gpu must be auto or a number of GPUs (0: the CPU), got {count!r}")
    if count > there:
        raise ValueError(f"num_gpu is {count}, but there are {there} CUDA devices here: write num_gpu: auto")


def _check_path(opt: Mapping[str, Any]) -> None:
    networks = [key.removeprefix("network_") for key in opt if key.startswith("network_")]
    known = [f"{kind}_{network}" for kind in ("pretrain_network", "param_key", "strict_load") for network in networks]
    for key, value in opt["path"].items():
        if key in (*_PATH_KEYS, *_SET_BY_BASICSR, *known):
            continue
        if value is None and _PATH_KEY.fullmatch(key):
            continue
        raise ValueError(f"path: unknown key {key!r}{suggest(key, (*_PATH_KEYS, *known))}")


def _check_datasets(opt: Mapping[str, Any], is_train: bool) -> None:
    phases = ("train", "val") if is_train else ("test", "val")
    for key, dataset in opt["datasets"].items():
        if key.split("_")[0] not in phases:
            command = "wbsr train" if is_train else "wbsr test"
            raise ValueError(
                f"datasets: unknown key {key!r}: {command} takes {phases[0]}, {phases[1]}, {phases[1]}_2 …"
            )
        where = f"datasets:{key}:"
        if not isinstance(dataset, dict):
            raise TypeError(f"datasets:{key} must be a block of keys, got {dataset!r}")
        need(dataset, "name", where, str)
        need(dataset, "type", where, str)
    if is_train:
        _check_loading(need(opt["datasets"], "train", "datasets:", dict))
    elif not opt["datasets"]:
        raise ValueError("datasets is empty: wbsr test needs one, such as datasets:test_1")


def _check_loading(train: Mapping[str, Any]) -> None:
    where = "datasets:train:"
    need(train, "batch_size_per_gpu", where, int)
    workers = train.get("num_worker_per_gpu")
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
        raise ValueError(f"{where}num_worker_per_gpu must be a whole number from 0, got {workers!r}")
    if train.get("persistent_workers") and workers == 0:
        raise ValueError(f"{where}persistent_workers needs num_worker_per_gpu of 1 or more, got 0: leave it out")
    ratio = train.get("dataset_enlarge_ratio", 1)
    if not isinstance(ratio, _NUMBER) or isinstance(ratio, bool) or ratio <= 0:
        raise ValueError(f"{where}dataset_enlarge_ratio must be a number above 0, got {ratio!r}")
    mode = train.get("prefetch_mode")
    if mode not in (None, "cpu", "cuda"):
        raise ValueError(f"{where}prefetch_mode must be cpu, cuda or ~ (none), got {mode!r}")
    if mode == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{where}prefetch_mode is cuda, but there is no CUDA device here: write prefetch_mode: ~")
    if mode == "cuda" and train.get("pin_memory") is not True:
        raise ValueError(f"{where}prefetch_mode cuda needs pin_memory: true")


def _check_training(opt: Mapping[str, Any]) -> None:
    need(need(opt, "train", "", dict), "total_iter", "train:", _NUMBER)
    logger = need(opt, "logger", "", dict)
    need(logger, "print_freq", "logger:", _NUMBER)
    need(logger, "save_checkpoint_freq", "logger:", _NUMBER)
    tensorboard = need(logger, "use_tb_logger", "logger:", bool)
    if (logger.get("wandb") or {}).get("project") is not None and not tensorboard:
        raise ValueError("logger:wandb:project needs logger:use_tb_logger: true")


def _check_validation(opt: Mapping[str, Any], is_train: bool) -> None:
    if is_train and opt.get("val") is None:
        return
    val = need(opt, "val", "", dict)
    save = need(val, "save_img", "val:", bool)
    if is_train:
        need(val, "val_freq", "val:", _NUMBER)
    elif save and "suffix" not in val:
        raise ValueError(
            "the key val:suffix is missing: write `suffix: ~`, or a text to add to the names of the images"
        )
