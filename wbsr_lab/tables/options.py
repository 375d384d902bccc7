"""The option files of a row: shipped ones, at the size of a preset, with what the row changes.

They are written beside the results and run by `wbsr train` and `wbsr test` as any others.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wbsr.checks.source import read_options
from wbsr_lab.tables.recipe import Preset, Row, Size

Options = dict[str, Any]


@dataclass(frozen=True)
class Folders:
    """Where prepared pairs lie, relative to the folder that the trainings run in."""

    train: Path
    tests: Mapping[str, Path]

    def pair(self, folder: Path, scale: int) -> dict[str, str]:
        """The two roots of a prepared folder, as a data set's options have them."""
        return {"dataroot_gt": (folder / "HR").as_posix(), "dataroot_lq": (folder / f"LRx{scale}").as_posix()}


def trainings(
    row: Row, backbone: str, scale: int, iterations: int, seed: int, preset: Preset, folders: Folders
) -> list[Options]:
    """The option files by which a row trains, in order; each starts from the network that the one before made.

    An experiment's name is its option file's stem and a hash of what is in it, so that rows, and tables, that train the
    same share one training.

    Raises:
        FileNotFoundError: a shipped option file that is not there.
        ValueError: the row changes what the file does not have.
    """
    found: list[Options] = []
    for path in row.option_files(backbone, scale):
        opt = copy.deepcopy(_shipped(path))
        opt["manual_seed"] = seed
        opt["datasets"].pop("val", None)
        opt.pop("val", None)
        opt["datasets"]["train"].pop("meta_info_file", None)
        opt["datasets"]["train"].update(folders.pair(folders.train, scale))
        _resize(opt["network_g"], preset.networks[backbone], row)
        _set(opt, "train:total_iter", iterations)
        _set(opt, "train:scheduler:periods", [iterations])
        logger = {"print_freq": max(1, iterations // 10), "save_checkpoint_freq": max(1, iterations // 4)}
        opt["logger"] = {**logger, "use_tb_logger": False}
        for key, value in {**preset.change, **row.change}.items():
            _set(opt, key, copy.deepcopy(value))
        loss = opt["train"].get("pixel_opt") or {}
        if loss.get("type") == "BDLoss":
            loss["dataroot_gt"] = (folders.train / "HR").as_posix()
        if found:
            opt["path"]["pretrain_network_g"] = weights(found[-1]).as_posix()
        opt["name"] = _name(path.stem, opt)
        found.append(opt)
    return found


def weights(training: Options) -> Path:
    """The checkpoint that a training leaves, relative to the folder that it runs in."""
    return Path("experiments") / str(training["name"]) / "models" / "net_g_latest.pth"


def test(row: Row, training: Options, checkpoint: Path, folders: Folders) -> Options:
    """The option file by which a row is tested: PSNR and SSIM on luma and on RGB, the scale's pixels cropped."""
    scale = training["scale"]
    sets = {
        f"test_{number}": {
            "name": name,
            "type": "PairedImageDataset",
            **folders.pair(folder, scale),
            "io_backend": {"type": "disk"},
        }
        for number, (name, folder) in enumerate(folders.tests.items(), 1)
    }
    metrics = {
        f"{metric}_{channel}": {
            "type": f"calculate_{metric}",
            "crop_border": scale,
            "test_y_channel": channel == "y",
        }
        for metric in ("psnr", "ssim")
        for channel in ("y", "rgb")
    }
    opt = {
        "model_type": training["model_type"],
        "scale": scale,
        "num_gpu": training["num_gpu"],
        "manual_seed": 0,
        "datasets": sets,
        "network_g": training["network_g"],
        "path": {"pretrain_network_g": checkpoint.as_posix(), "strict_load_g": True},
        "val": {"save_img": False, "dynamic": dict(row.dynamic), "metrics": metrics},
    }
    return {"name": _name("test_" + training["name"].rsplit("_", 1)[0], opt), **opt}


@functools.cache
def _shipped(path: Path) -> Options:
    return read_options(path)


def _resize(network: Options, size: Size, row: Row) -> None:
    """Give a network the preset's size."""
    network["backbone"].update(size.backbone)
    if network["type"] == "Supernet":
        widths, depths = row.subnets
        network.update({"widths": list(size.widths[widths]), "depths": list(size.depths[depths])})
    else:
        network["widths"] = list(size.branches)


def _set(opt: Options, key: str, value: Any) -> None:
    """Set `block:key` of an option file; a new key may come into a block, a new block not."""
    *blocks, last = key.split(":")
    block = opt
    for name in blocks:
        if not isinstance(block.get(name), dict):
            raise ValueError(f"change {key!r}: the option file {opt['name']} has no block {name!r}")
        block = block[name]
    block[last] = value


def _name(stem: str, opt: Options) -> str:
    content = {key: value for key, value in opt.items() if key != "name"}
    return f"{stem}_{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]}"
