"""Optimisers and learning-rate schedules: BasicSR knows one of the former, three of the latter; both are tried."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from wbsr.checks.arguments import check_arguments, check_keywords
from wbsr.checks.components import registered
from wbsr.checks.kinds import shown
from wbsr.checks.reading import reads
from wbsr_base.hooks.recorded import StockComputeOptions
from wbsr_base.options import parse, suggest


def check_optimization(opt: Mapping[str, Any]) -> None:
    """Check `optim_*`, `scheduler` and the losses of the block `train`, unless the model makes its own.

    Raises:
        ValueError, TypeError: a missing block or type, one that BasicSR does not know, an option it does not take, what
            a first step stumbles on, a schedule that does not fit the training, or no loss at all.
    """
    from wbsr_base.basicsr import BaseModel, SRModel

    model, train = registered("model", opt["model_type"]), opt["train"]
    learns_by_basicsr = getattr(model, "init_training_settings", None) is SRModel.init_training_settings
    if learns_by_basicsr and not (train.get("pixel_opt") or train.get("perceptual_opt")):
        raise ValueError(
            "train: there is nothing to learn from: give pixel_opt, such as {type: L1Loss}, or perceptual_opt"
        )
    if learns_by_basicsr and model.optimize_parameters is SRModel.optimize_parameters:
        parse(StockComputeOptions, train.get("compute"), "train:compute")
    if getattr(getattr(model, "get_optimizer", None), "__module__", "").split(".")[0] in ("basicsr", "wbsr_models"):
        read = reads(model).at("train") if inspect.isclass(model) else set()
        for key in sorted({key for key in read if key.startswith("optim_")} or {"optim_g"}):
            _check_optimizer(train.get(key), f"train:{key}")
    if getattr(model, "setup_schedulers", None) is BaseModel.setup_schedulers:
        _check_scheduler(train)


def _type(block: Any, where: str) -> Any:
    if not isinstance(block, Mapping):
        raise TypeError(f"{where} must be a block of keys such as `type: …`, got {shown(block)}")
    if "type" not in block:
        raise ValueError(f"the key {where}:type is missing")
    return block["type"]


def _check_optimizer(block: Any, where: str) -> None:
    kind = _type(block, where)
    if kind != "Adam":
        raise ValueError(f"{where}:type must be Adam, the only one that BasicSR knows, got {shown(kind)}")
    check_keywords(torch.optim.Adam, block, where, given=("self", "params"), extra=("type",))
    check_arguments(torch.optim.Adam, block, where)
    if "lr" not in block:  # torch has a default, BasicSR hands it on by hand
        raise ValueError(f"the key {where}:lr is missing: BasicSR needs it")
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.ones(1)
    try:
        torch.optim.Adam([weight], **{key: value for key, value in block.items() if key != "type"}).step()
    except Exception as error:
        raise ValueError(f"{where}: Adam does not take these options: {' '.join(str(error).split())}") from error


def _check_scheduler(train: Mapping[str, Any]) -> None:
    from wbsr_base.basicsr import lr_scheduler

    known = {
        "MultiStepLR": lr_scheduler.MultiStepRestartLR,
        "MultiStepRestartLR": lr_scheduler.MultiStepRestartLR,
        "CosineAnnealingRestartLR": lr_scheduler.CosineAnnealingRestartLR,
    }
    where = "train:scheduler"
    block: Mapping[str, Any] = train.get("scheduler") or {}
    kind = _type(train.get("scheduler"), where)
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(f"{where}:type: BasicSR knows no schedule {kind!r}{suggest(str(kind), known)}")
    check_keywords(known[kind], block, where, given=("self", "optimizer"), extra=("type",))
    check_arguments(known[kind], block, where)
    for one, other in (("periods", "restart_weights"), ("restarts", "restart_weights")):
        if one in block and len(block[one]) != len(block.get(other, (1,))):
            raise ValueError(
                f"{where}: {one} and {other} must be lists of one length, got {len(block[one])} and "
                f"{len(block.get(other, (1,)))} entries"
            )
    periods = block.get("periods")
    if kind == "CosineAnnealingRestartLR" and sum(periods or []) < train["total_iter"] - 1:
        raise ValueError(
            f"{where}:periods {shown(periods)} end before train:total_iter {train['total_iter']}, where BasicSR would "
            f"stop with an error: let them add up to {train['total_iter']}"
        )
    _try_schedule(known[kind], {key: value for key, value in block.items() if key != "type"}, train, where)


def _try_schedule(made: Any, options: Mapping[str, Any], train: Mapping[str, Any], where: str) -> None:
    """Ask for the learning rate at the steps where something changes."""
    weight, lr = torch.zeros(1, requires_grad=True), (train.get("optim_g") or {}).get("lr", 1.0)
    steps = {0, 1, int(train["total_iter"]) - 1, *options.get("milestones", ()), *options.get("restarts", ())}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            schedule = made(torch.optim.SGD([weight], lr=lr), **options)
        for step in sorted(step for step in steps if step < train["total_iter"]):
            schedule.last_epoch = step
            rates = schedule.get_lr()
            if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
                raise ValueError(f"the learning rate would be {rates[0]} in iteration {step + 1}")
    except Exception as error:
        raise ValueError(f"{where}: {made.__name__} does not take these options: {error}") from error
