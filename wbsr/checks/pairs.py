"""The image pairs of validation and test: read in headers before anything starts, not at the end of an epoch.

BasicSR's `PairedImageDataset` names neither a damaged image nor a pair whose sizes differ, and its metrics fail on
images that they leave nothing of. A training set of ours checks its own pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wbsr.checks.components import Component, components, find

_WINDOWS = {"calculate_ssim": 11}  # pixels that a metric's window covers


def check_pairs(opt: Mapping[str, Any], is_train: bool) -> None:
    """Check every pair of the validation or test sets.

    The HR image must be `scale` times its LR image; up to scale - 1 rows and columns more are cut off by BasicSR.

    Raises:
        ValueError: an image that is damaged, partly transparent or too small for a metric, sizes that do not match, an
            LR image without its HR image, or an LMDB without a key.
    """
    from wbsr_base.basicsr import PairedImageDataset

    for component in components(opt, is_train):
        if component.kind != "dataset" or component.options["phase"] == "train":
            continue
        backend = (component.options.get("io_backend") or {}).get("type")
        if issubclass(find(component), PairedImageDataset) and backend in ("disk", "lmdb"):
            _check_pairs(component, _least_side(opt))


def _least_side(opt: Mapping[str, Any]) -> tuple[int, str]:
    """The HR pixels that the metrics need of either side, and the metric that needs them."""
    metrics = ((opt.get("val") or {}).get("metrics") or {}).values()
    sides = [(_WINDOWS.get(m["type"], 1) + 2 * m.get("crop_border", 0), str(m["type"])) for m in metrics]
    return max(sides, default=(1, ""))


def _check_pairs(component: Component, least: tuple[int, str]) -> None:
    from wbsr_base.pixels.images import check_image
    from wbsr_data.reader import PairReader

    try:
        dataset = find(component)(dict(component.options))
    except AssertionError as error:
        raise ValueError(f"{component.where}: {error} Every HR image needs its LR image; see filename_tmpl.") from error
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
        if min(lr) * scale < least[0]:
            raise ValueError(
                f"{component.where}: {reader.name(number, 'gt')} must be at least {least[0]} pixels high and wide for "
                f"{least[1]}, got {hr[0]} x {hr[1]}: lower crop_border, or remove the image"
            )
    reader.close()
