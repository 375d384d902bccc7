"""The images behind the data sets: read in headers before anything starts, not at the end of an epoch.

BasicSR's `PairedImageDataset` names neither a damaged image nor a pair whose sizes differ, its metrics fail on images
that they leave nothing of, and without HR images they compare with whatever HR image was there last. A training set of
ours checks its own pairs.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbsr.checks.components import Component, components, find

_WINDOWS = {"calculate_ssim": 11, "calculate_niqe": 96}  # pixels that a metric's window covers
_FEWEST = {"calculate_niqe": 2}  # windows side by side that it needs, for their covariance
_TRIED = 3  # training pairs, the first and the last among them


def check_pairs(opt: Mapping[str, Any], is_train: bool) -> None:
    """Check every pair of the validation or test sets, and some of a training set.

    The HR image must be `scale` times its LR image; up to scale - 1 rows and columns more are cut off by BasicSR.

    Raises:
        ValueError: an image that is damaged, partly transparent or too small for a metric, sizes that do not match, an
            LR image without its HR image, an LMDB without a key, metrics for a set without HR images, two results of
            one name, or a set that BasicSR can't make.
    """
    from wbsr_base.basicsr import PairedImageDataset, SingleImageDataset

    val = opt.get("val") or {}
    metrics = val.get("metrics") or {}
    sets = [component for component in components(opt, is_train) if component.kind == "dataset"]
    for component in sorted(sets, key=lambda component: component.options["phase"] == "train"):
        made = find(component)
        backend = (component.options.get("io_backend") or {}).get("type")
        paired = issubclass(made, PairedImageDataset) and backend in ("disk", "lmdb")
        if component.options["phase"] == "train":
            if made.__module__.startswith("basicsr."):
                _try_items(component)
            continue
        single = issubclass(made, SingleImageDataset)
        if single:
            _check_metrics(component, made, metrics)
        if paired:
            _check_pairs(component, metrics)
        elif single and backend == "disk":
            _check_singles(component, metrics)
        elif made.__module__.startswith("basicsr.") and "video" not in made.__module__:
            _try_items(component)
        if val.get("save_img"):
            _check_results(component)


def _check_metrics(component: Component, made: Any, metrics: Mapping[str, Any]) -> None:
    """Refuse metrics that compare with HR images, of which a set delivers none."""
    for name, block in metrics.items():
        metric = find(Component("metric", f"val:metrics:{name}", block, block["type"]))
        if "img2" in inspect.signature(metric).parameters:
            raise ValueError(
                f"val:metrics:{name}: {block['type']} compares with HR images, which {component.where} of type "
                f"{made.__name__} does not have: use PairedImageDataset, or leave out the metric"
            )


def _check_results(component: Component) -> None:
    """Refuse two images of a set whose results would be one file."""
    folder = component.options.get("dataroot_lq")
    if not isinstance(folder, str) or not Path(folder).expanduser().is_dir() or folder.endswith(".lmdb"):
        return
    files = [path for path in Path(folder).expanduser().iterdir() if path.is_file() and not path.name.startswith(".")]
    meta = component.options.get("meta_info_file")
    if isinstance(meta, str):  # of pairs it names the HR images, whose LR images may be called otherwise
        lines = Path(meta).expanduser().read_text(encoding="utf-8").splitlines()
        files = [Path(name) for name in dict.fromkeys(line.split(" ")[0] for line in lines)]
    stem, count = max(Counter(path.stem for path in files).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        names = " and ".join(sorted(path.name for path in files if path.stem == stem)[:2])
        raise ValueError(
            f"{component.where}: {names} in {folder} would both be saved as {stem}, one over the other: rename one, or "
            "write val:save_img: false"
        )


def _check_room(where: str, name: str, hr: tuple[int, int], metrics: Mapping[str, Any]) -> None:
    """Refuse an image of `hr` (height, width), at HR size, which a metric can't take."""
    for metric in metrics.values():
        kind, border = metric["type"], 2 * metric.get("crop_border", 0)
        window, fewest = _WINDOWS.get(kind, 1), _FEWEST.get(kind, 1)
        down, across = ((side - border) // window for side in hr)
        if min(down, across) < 1 or down * across < fewest:
            sides = " high and wide" if fewest == 1 else f" high and {fewest * window + border} wide, or the reverse,"
            raise ValueError(
                f"{where}: {name} must be at least {window + border} pixels{sides} for {kind}, got {hr[0]} x {hr[1]}: "
                "lower crop_border, or remove the image"
            )


def _check_pairs(component: Component, metrics: Mapping[str, Any]) -> None:
    from wbsr_base.pixels.images import check_image
    from wbsr_data.reader import PairReader

    dataset = _make(component)
    scale = component.options["scale"]
    reader = PairReader(dataset.paths, dataset.io_backend_opt)
    for number in range(len(dataset.paths)):
        hr, lr = (check_image(reader.read(number, side), reader.name(number, side)) for side in ("gt", "lq"))
        if any(not 0 <= large - scale * small < scale for large, small in zip(hr, lr, strict=True)):
            raise ValueError(
                f"{component.where}: an HR image must be {scale} times its LR image, got {hr[0]} x {hr[1]} for "
                f"{reader.name(number, 'gt')} and {lr[0]} x {lr[1]} for {reader.name(number, 'lq')}: "
                "prepare the pair again"
            )
        kept = (scale * lr[0], scale * lr[1])
        _check_room(component.where, reader.name(number, "gt"), kept, metrics)
    reader.close()
    if dataset.paths:
        _try_item(component, dataset, 0)


def _check_singles(component: Component, metrics: Mapping[str, Any]) -> None:
    """Check every image of a set without HR images, of which the results alone are measured."""
    from wbsr_base.pixels.images import check_image

    dataset, scale = _make(component), component.options.get("scale", 1)
    for path in map(Path, dataset.paths):
        height, width = check_image(path.read_bytes(), str(path))
        _check_room(component.where, f"the result of {path}", (scale * height, scale * width), metrics)
    if dataset.paths:
        _try_item(component, dataset, 0)


def _make(component: Component) -> Any:
    """The data set.

    Raises:
        ValueError: it can't be made, for any reason.
    """
    made = find(component)
    try:
        return made(copy.deepcopy(dict(component.options)))
    except KeyError as error:
        raise ValueError(f"the key {component.where}:{error.args[0]} is missing: {made.__name__} needs it") from error
    except AssertionError as error:
        raise ValueError(f"{component.where}: {error} Every HR image needs its LR image; see filename_tmpl.") from error
    except Exception as error:
        raise ValueError(f"{component.where}: {made.__name__} can't be made: {_told(error)}") from error


def _try_items(component: Component) -> None:
    """Read a few items as a training would."""
    options = component.options
    size, scale = options.get("gt_size"), options.get("scale")
    if isinstance(size, int) and isinstance(scale, int) and size % scale:
        raise ValueError(f"{component.where}:gt_size must be a multiple of the scale {scale}, got {size}")
    dataset = _make(component)
    count = len(dataset)
    if count == 0:
        raise ValueError(f"{component.where}: {type(dataset).__name__} finds no images: see its dataroot")
    for number in sorted({0, count // 2, count - 1})[:_TRIED]:
        _try_item(component, dataset, number)


def _try_item(component: Component, dataset: Any, number: int) -> None:
    try:
        dataset[number]
    except KeyError as error:
        raise ValueError(
            f"the key {component.where}:{error.args[0]} is missing: {type(dataset).__name__} needs it"
        ) from error
    except Exception as error:
        paths = getattr(dataset, "paths", None)
        pair = paths[number] if isinstance(paths, list) else f"item {number}"
        name = pair.get("gt_path", pair) if isinstance(pair, Mapping) else pair
        raise ValueError(f"{component.where}: {name} can't be read as these options ask: {_told(error)}") from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
