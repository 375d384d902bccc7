"""Folders, LMDBs, meta files and checkpoints that an option file names: they must be there before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbsr_base.options import suggest


def check_files(opt: Mapping[str, Any], read_pretrained: bool) -> None:
    """Check what the options say is on the disk.

    Args:
        opt: all options.
        read_pretrained: whether `pretrain_network_*` will be read; it is not where training resumes.

    Raises:
        FileNotFoundError: a folder or file is not there, or a folder is empty.
        ValueError: an LMDB that is none, or HR and LR folders which hold different numbers of images.
    """
    for key, dataset in opt["datasets"].items():
        _check_dataset(dataset, f"datasets:{key}")
    for key, value in opt["path"].items():
        wanted = key == "resume_state" or (key.startswith("pretrain_network_") and read_pretrained)
        if wanted and value is not None:
            _existing(value, f"path:{key}", is_folder=False)


def _check_dataset(dataset: Mapping[str, Any], where: str) -> None:
    backend = (dataset.get("io_backend") or {}).get("type")
    if "io_backend" in dataset and backend not in ("disk", "lmdb", "memcached"):
        raise ValueError(f"{where}:io_backend:type must be disk, lmdb or memcached, got {backend!r}")
    counts = {}
    for key in ("dataroot_gt", "dataroot_lq"):
        if not isinstance(dataset.get(key), (list, type(None))):  # some data sets take a list of folders
            folder = _existing(dataset[key], f"{where}:{key}", is_folder=True)
            counts[key] = _check_folder(folder, f"{where}:{key}", backend)
    meta = dataset.get("meta_info_file")
    if meta is not None:
        _existing(meta, f"{where}:meta_info_file", is_folder=False)
    elif backend == "disk" and len(set(counts.values())) > 1:
        raise ValueError(
            f"{where}: {dataset['dataroot_gt']} holds {counts['dataroot_gt']} files and {dataset['dataroot_lq']} "
            f"{counts['dataroot_lq']}: BasicSR pairs them one by one, so each HR image needs its LR image"
        )


def _check_folder(folder: Path, where: str, backend: str | None) -> int:
    """The number of files in a folder of images, or 0 for an LMDB."""
    if backend == "lmdb":
        if folder.suffix != ".lmdb":
            raise ValueError(f"{where}: BasicSR wants an LMDB folder's name to end in .lmdb, got {folder}")
        for name in ("data.mdb", "meta_info.txt"):
            _existing(str(folder / name), where, is_folder=False)
        return 0
    if folder.suffix == ".lmdb":
        raise ValueError(f"{where}: {folder} is an LMDB: write io_backend: {{type: lmdb}} beside it")
    count = sum(1 for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if count == 0 and not any(path.is_dir() for path in folder.iterdir()):
        raise FileNotFoundError(f"{where}: the folder {folder} is empty: put images into it")
    return count


def _existing(value: Any, where: str, is_folder: bool) -> Path:
    if not isinstance(value, str):
        raise TypeError(f"{where} must be a path, got {value!r}")
    path, what = Path(value).expanduser(), "folder" if is_folder else "file"
    if path.is_dir() if is_folder else path.is_file():
        return path
    parent = path.absolute().parent
    near = suggest(path.name, [entry.name for entry in parent.iterdir()]) if parent.is_dir() else ""
    hint = near.split(" (known")[0]
    raise FileNotFoundError(f"{where}: there is no {what} {value} (seen from {Path.cwd()}){hint}")
