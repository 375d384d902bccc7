"""The image pairs of validation and test: read in headers before anything starts, not at the end of an epoch.

BasicSR's `PairedImageDataset` names neither a damaged image nor a pair whose sizes differ. A training set of ours
checks its own pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wbsr.checks.components import Component, components, find


def check_pairs(opt: Mapping[str, Any], is_train: bool) -> None:
    """Check every pair of the validation or test sets.

    The HR image must be `scale` times its LR image; up to scale - 1 rows and columns more are cut off by BasicSR.

    Raises:
        ValueError: an image that is damaged or partly transparent, sizes that do not match, an LR image without its HR
            image, or an LMDB without a key.
    """
    from basicsr.data.paired_image_dataset import PairedImageDataset

    for component in components(opt, is_train):
        if component.kind != "dataset" or component.options["phase"] == "train":
            continue
        backend = (component.options.get("io_backend") or {}).get("type")
        if issubclass(find(component), PairedImageDataset) and backend in ("disk", "lmdb"):
            _check_pairs(component)


def _check_pairs(component: Component) -> None:
    from wbsr_data.images import check_image
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
    reader.close()
