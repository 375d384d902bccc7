"""Folders, LMDBs, meta files and checkpoints that an option file names: they must be there before anything starts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbsr.checks.components import registered
from wbsr.checks.kinds import shown
from wbsr_base.options import suggest

_SET_BY_BASICSR = ("self", "db_paths", "client_keys", "kwargs")  # of a backend's arguments


def check_files(opt: Mapping[str, Any], read_pretrained: bool) -> None:
    """Check what the options say is on the disk.

    Args:
        opt: all options.
        read_pretrained: whether `pretrain_network_*` will be read; it is not where training resumes.

    Raises:
        FileNotFoundError: a folder or file is not there, or a folder is empty.
        ValueError: an LMDB that is none, HR and LR images that don't pair up, or a meta file that BasicSR misreads.
    """
    for key, dataset in opt["datasets"].items():
        _check_dataset(dataset, f"datasets:{key}")
    for key, value in opt["path"].items():
        wanted = key == "resume_state" or (key.startswith("pretrain_network_") and read_pretrained)
        if wanted and value is not None:
            _existing(value, f"path:{key}", is_folder=False)


def _check_dataset(dataset: Mapping[str, Any], where: str) -> None:
    backend = _check_backend(dataset["io_backend"], where) if "io_backend" in dataset else None
    folders = {}
    for key in ("dataroot_gt", "dataroot_lq"):
        if dataset.get(key) is not None:
            folders[key] = _existing(dataset[key], f"{where}:{key}", is_folder=True)
            _check_folder(folders[key], f"{where}:{key}", backend)
    meta = dataset.get("meta_info_file")
    if meta is not None:
        meta = _existing(meta, f"{where}:meta_info_file", is_folder=False)
    if backend == "disk" and _is_of_images(dataset["type"]):
        template = dataset.get("filename_tmpl", "{}")
        if meta is not None:
            check_meta(meta, folders, template, f"{where}:meta_info_file")
        else:
            _check_names(folders, template, where)


def _is_of_images(kind: str) -> bool:
    """Whether a data set takes the files of its folders for images, as BasicSR's for single images do."""
    from wbsr_base.basicsr import PairedImageDataset, SingleImageDataset

    made = registered("dataset", kind)
    return inspect.isclass(made) and issubclass(made, (PairedImageDataset, SingleImageDataset))


def _check_backend(block: Mapping[str, Any], where: str) -> str:
    from wbsr_base.basicsr import FileClient

    kind = block.get("type")
    if not isinstance(kind, str) or kind not in FileClient._backends:
        raise ValueError(f"{where}:io_backend:type must be disk, lmdb or memcached, got {shown(kind)}")
    known = set(inspect.signature(FileClient._backends[kind].__init__).parameters) - set(_SET_BY_BASICSR)
    if kind == "disk":
        known = set()
    for key in block:
        if key != "type" and key not in known:
            raise ValueError(f"{where}:io_backend: {kind} takes no option {key!r}{suggest(key, ['type', *known])}")
    return str(kind)


def _check_folder(folder: Path, where: str, backend: str | None) -> None:
    if backend == "lmdb":
        if folder.suffix != ".lmdb":
            raise ValueError(f"{where}: BasicSR wants an LMDB folder's name to end in .lmdb, got {folder}")
        for name in ("data.mdb", "meta_info.txt"):
            _existing(str(folder / name), where, is_folder=False)
        return
    if folder.suffix == ".lmdb":
        raise ValueError(f"{where}: {folder} is an LMDB: write io_backend: {{type: lmdb}} beside it")
    if next(iter(folder.iterdir()), None) is None:
        raise FileNotFoundError(f"{where}: the folder {folder} is empty: put images into it")


def _files(folder: Path) -> list[str]:
    """What BasicSR takes for the images of a folder: its files, without those whose names begin with a dot."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _check_names(folders: Mapping[str, Path], template: str, where: str) -> None:
    """Check that the folders hold files, and as many, under the names by which BasicSR pairs them."""
    names = {key: _files(folder) for key, folder in folders.items()}
    for key, files in names.items():
        if not files:
            below = next((path.name for path in sorted(folders[key].iterdir()) if path.is_dir()), None)
            hint = "put images into it" if below is None else f"its images are in folders, such as {below}, below it, "
            hint += "" if below is None else "where BasicSR does not look: name one of them, or run wbsr prepare"
            raise FileNotFoundError(f"{where}:{key}: the folder {folders[key]} holds no files: {hint}")
    if len(names) < 2:
        return
    (hr, lr), (large, small) = names.values(), folders.values()
    if len(hr) != len(lr):
        raise ValueError(
            f"{where}: {large} holds {len(hr)} files and {small} {len(lr)}: BasicSR pairs them one by one, so each HR "
            "image needs its LR image"
        )
    there = set(lr)
    for name in hr:
        wanted = f"{template.format(Path(name).stem)}{Path(name).suffix}"
        if wanted not in there:
            near = next((other for other in lr if Path(other).stem == Path(wanted).stem), None)
            hint = _template_hint(name, lr, template)
            if near is not None:
                hint = f"its LR image ends otherwise ({near}), and BasicSR wants one ending: convert one of them"
            raise ValueError(
                f"{where}: Every HR image needs its LR image: for {large / name} there must be {small / wanted}: {hint}"
            )


def _template_hint(name: str, lr: list[str], template: str) -> str:
    """What `filename_tmpl` would pair an HR image, if one would."""
    stem = Path(name).stem
    for other in lr:
        inner = Path(other).stem
        if stem in inner and inner.replace(stem, "{}", 1) != template:
            ending = "" if Path(other).suffix == Path(name).suffix else ", and give both one ending, for BasicSR"
            return f"there is {other}, so write filename_tmpl: '{inner.replace(stem, '{}', 1)}'{ending}"
    return "see filename_tmpl"


def check_meta(path: Path, folders: Mapping[str, Path], template: str, where: str) -> None:
    """Check a meta file, of which BasicSR takes what stands before the first space of each line for an image's name.

    Raises:
        ValueError: it is empty, has a blank line or a byte-order mark, or is no text.
        FileNotFoundError: it names an image that is not there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: {path} is no text in UTF-8: {error}") from error
    if text.startswith("\ufeff"):
        raise ValueError(
            f"{where}: {path} begins with a byte-order mark, which BasicSR takes for a part of the first name: save it "
            "as UTF-8 without one"
        )
    lines = text.splitlines()
    if not lines:
        raise ValueError(f"{where}: {path} is empty: it must name one image a line, or leave it out to take all")
    for number, line in enumerate(lines, 1):
        name = line.strip().split(" ")[0]
        if not name:
            raise ValueError(f"{where}: line {number} of {path} is blank, which BasicSR takes for a name: delete it")
        pair = {"dataroot_gt": name, "dataroot_lq": f"{template.format(Path(name).stem)}{Path(name).suffix}"}
        if "dataroot_gt" not in folders:
            pair = {"dataroot_lq": name}
        for key, wanted in pair.items():
            if key in folders and not (folders[key] / wanted).is_file():
                raise FileNotFoundError(
                    f"{where}: line {number} of {path} names {name}, but there is no {folders[key] / wanted}"
                    + (" (a name ends at the first space)" if " " in line.strip() else "")
                )


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
