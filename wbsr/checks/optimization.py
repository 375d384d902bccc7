"""Optimisers and learning-rate schedules: BasicSR knows one of the former, three of the latter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from wbsr.checks.components import check_keywords
from wbsr_base.options import suggest


def check_optimization(opt: Mapping[str, Any]) -> None:
    """Check `optim_*` and `scheduler` of the block `train`, unless the model makes its own.

    Raises:
        ValueError, TypeError: a missing block or type, one that BasicSR does not know, an option it does not take, or a
            cosine schedule that ends before the training does.
    """
    from wbsr_base.basicsr import MODEL_REGISTRY, BaseModel

    model, train = MODEL_REGISTRY.get(opt["model_type"]), opt["train"]
    if getattr(model, "get_optimizer", None) is BaseModel.get_optimizer:
        for key in [key for key in train if key.startswith("optim_")] or ["optim_g"]:
            where = f"train:{key}"
            if _type(train.get(key), where) != "Adam":
                raise ValueError(
                    f"{where}:type must be Adam, the only one that BasicSR knows, got {train[key]['type']!r}"
                )
            check_keywords(torch.optim.Adam, train[key], where, given=("self", "params"), extra=("type",))
    if getattr(model, "setup_schedulers", None) is BaseModel.setup_schedulers:
        _check_scheduler(train)


def _type(block: Any, where: str) -> Any:
    if not isinstance(block, Mapping):
        raise TypeError(f"{where} must be a block of keys such as `type: …`, got {block!r}")
    if "type" not in block:
        raise ValueError(f"the key {where}:type is missing")
    return block["type"]


def _check_scheduler(train: Mapping[str, Any]) -> None:
    from wbsr_base.basicsr import lr_scheduler

    known = {
        "MultiStepLR": lr_scheduler.MultiStepRestartLR,
        "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
        "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
    }
    where = "train:scheduler"
    block, kind = train.get("scheduler"), _type(train.get("scheduler"), where)
    if kind not in known:
        raise ValueError(f"{where}:type: BasicSR knows no schedule {kind!r}{suggest(str(kind), known)}")
    check_keywords(known[kind], block or {}, where, given=("self", "optimizer"), extra=("type",))
    periods = (block or {}).get("periods")
    if kind == "CosineAnnealingRestartLR" and sum(periods or []) < train["total_iter"] - 1:
        raise ValueError(
            f"{where}:periods {periods} end before train:total_iter {train['total_iter']}, where BasicSR would stop "
            f"with an error: let them add up to {train['total_iter']}"
        )
