"""What a validation runs, and what comes out: one run for each policy, budget and baseline, one row for each run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wbsr_data.difficulty import classify
from wbsr_data.gradient import gradient_score
from wbsr_models.inference.report import Report
from wbsr_models.inference.upscaler import DynamicUpscaler
from wbsr_models.routing.policies import make_policy
from wbsr_models.testing.baselines import Bicubic, Dense
from wbsr_models.testing.options import DynamicOptions, Requests
from wbsr_models.testing.protocol import PATCH, STRIDE, PatchProtocol, covered

Upscale = Callable[[Tensor], tuple[Tensor, Report]]


@dataclass
class Run:
    """One pass over a set: what upscales, how it is called, where on a curve it stands, and the reports so far."""

    label: str
    upscale: Upscale
    point: Mapping[str, float] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)


def in_training(requests: Requests) -> Requests:
    """What is validated while training: the first request, image by image, since a set would be read twice."""
    label, policy = requests[0]
    return ((label, policy.for_one_image()),)


def is_comparison(options: DynamicOptions) -> bool:
    """Whether a test measures several ways, so that times are set side by side."""
    return options.test.compare or len(options.requests) > 1


def with_every_subnet(requests: Requests, upscaler: DynamicUpscaler) -> Requests:
    """The requests, and those for the full network and for each subnet alone that are not among them."""
    cost, known = requests[0][1].cost, {policy.mode for _, policy in requests}
    modes = [mode for mode in ("full", *map(str, upscaler.network.subnets)) if mode not in known]
    return (*requests, *((mode, make_policy(mode, {"cost": cost})) for mode in modes))


def make_runs(requests: Requests, upscaler: DynamicUpscaler, by_patches: bool, baselines: bool) -> list[Run]:
    """The runs of a validation.

    Args:
        requests: names and policies.
        upscaler: whose networks run.
        by_patches: as ClassSR and ARM test (`protocol.py`).
        baselines: whether BasicSR's dense run and bicubic follow.

    Raises:
        ValueError: a policy needs what is unknown; before any work.
    """
    runs = []
    for label, policy in requests:
        routed = upscaler.routed(policy)
        runs.append(Run(label, PatchProtocol(routed) if by_patches else routed, policy.point))
    if baselines:
        runs += [Run("dense", Dense(upscaler.network)), Run("bicubic", Bicubic(upscaler.network.scale))]
    return runs


def count_classes(images: Iterable[Tensor], thresholds: Sequence[float], patch_size: int, by_patches: bool) -> Any:
    """How many patches of each class LR images (C, H, W) have: a list of (K,), one for each image."""
    counts = []
    for lr in images:
        grid = (patch_size, patch_size)
        if by_patches:
            lr, grid = lr[:, : covered(lr.shape[1]), : covered(lr.shape[2])], (PATCH, STRIDE)
        classes = classify(gradient_score(lr, *grid), thresholds)
        counts.append(np.bincount(classes.numpy().ravel(), minlength=len(thresholds) + 2)[1:])
    return counts


def with_shares(upscaler: DynamicUpscaler, counts: Sequence[Any]) -> DynamicUpscaler:
    """The upscaler, with the classes as frequent as in these images, by which a budget over a set is kept."""
    total = np.sum(counts, axis=0)
    shares = tuple((total / total.sum()).tolist())
    return upscaler.routed(upscaler.policy, replace(upscaler.profile, class_shares=shares))


def summary(reports: Sequence[Report]) -> dict[str, float]:
    """Cost and FLOPs per patch as means over all patches of the set; the others as means over images."""
    patches = [report.choice.size for report in reports]
    return {
        "cost_share": float(np.average([report.cost_share for report in reports], weights=patches)),
        "flops_share": float(np.average([report.flops_share for report in reports], weights=patches)),
        "flops_share_run": float(np.mean([report.flops_share_run for report in reports])),
        "milliseconds": float(np.mean([report.milliseconds for report in reports])),
        "router_share": float(np.mean([report.router_share for report in reports])),
    }


def setting(opt: Mapping[str, Any], name: str, images: int, protocol: str, device: torch.device) -> dict[str, Any]:
    """What was tested, and where: what the rows of a result file belong to."""
    return {
        "test": opt["name"],
        "set": name,
        "images": images,
        "protocol": protocol,
        "scale": opt["scale"],
        "network": opt["network_g"],
        "weights": opt["path"].get("pretrain_network_g"),
        "metrics": opt["val"].get("metrics"),
        "device": device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
