"""The block `train:classsr` of an option file: which of ClassSR's three stages a training is, and how losses weigh."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from wbsr_base.options import parse
from wbsr_models.testing.training_sets import difficulty_classes


@dataclass(frozen=True)
class ClassSROptions:
    """The block `train:classsr`. Each stage starts from the checkpoint of the one before, by `pretrain_network_g`.

    Args:
        stage: `branches`: each on the patches of its difficulty class; `classifier`: it alone, the branches are frozen;
            `joint`: all together.
        image_weight: of the loss (`pixel_opt`) of the branches' outputs, weighed by the classifier's probabilities.
        class_weight: of the class loss, for decided probabilities.
        average_weight: of the average loss, for branches that are used alike.

    The weights are those of the paper for images in 0-1, and take no part in stage `branches`.

    Raises:
        ValueError: a weight out of its range.
    """

    stage: Literal["branches", "classifier", "joint"] = "branches"
    image_weight: float = 2000.0
    class_weight: float = 1.0
    average_weight: float = 6.0

    def __post_init__(self) -> None:
        for name in ("image_weight", "class_weight", "average_weight"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0, got {value}")


def classsr_options(opt: dict[str, Any]) -> ClassSROptions:
    """The block `train:classsr` of an option file, once what its stage needs is there.

    Raises:
        ValueError, TypeError: something in it is wrong, the training set does not deliver one class for each branch, or
            a classifier is to be trained on branches that are not.
    """
    options = parse(ClassSROptions, opt.get("train", {}).get("classsr"), "train:classsr")
    train = opt.get("datasets", {}).get("train")
    if train is None:
        return options
    if options.stage == "branches":
        _check_classes(train, opt["network_g"].get("widths"))
    path = opt.get("path", {})
    if options.stage == "classifier" and not (path.get("pretrain_network_g") or path.get("resume_state")):
        raise ValueError(
            "train:classsr:stage `classifier` needs trained branches, got no path:pretrain_network_g: give the "
            "checkpoint of a training of stage `branches`"
        )
    return options


def _check_classes(train: dict[str, Any], widths: Any) -> None:
    if not isinstance(widths, (list, tuple)):
        return  # the architecture's own check says what is wrong
    branches = len(widths)
    classes = difficulty_classes(train)
    if classes is None:
        raise ValueError(
            "train:classsr:stage `branches` needs the difficulty class of each patch, which HESPairedImageDataset "
            f"delivers, got a training set of type {train.get('type')}: set datasets:train:type to it, with "
            f"hes: {{sampling: uniform, score: bilinear, num_classes: {branches}}}"
        )
    if classes != branches:
        raise ValueError(
            "train:classsr:stage `branches` needs one difficulty class for each of the "
            f"{branches} branches, got hes:num_classes {classes}: set it to {branches}"
        )


def default_routing(opt: dict[str, Any]) -> str:
    """By the classifier; where only branches are trained, by the difficulty classes that they are trained on."""
    return "paper" if opt.get("train") and classsr_options(opt).stage == "branches" else "classsr"
