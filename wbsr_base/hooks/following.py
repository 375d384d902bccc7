"""Training sets whose draws follow the training: they have to know the model.

BasicSR builds the loaders, then the model, and neither learns of the other. `create_train_val_dataloader` and
`build_model` are wrapped: a training set that has a method `follow(model)` gets the model once it is built, before it
is resumed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_NOTE = "training_set"  # in the options, between the two calls


def mend() -> None:
    """Wrap both functions once."""
    import basicsr.train

    if not hasattr(basicsr.train.build_model, "__wrapped__"):
        basicsr.train.create_train_val_dataloader = _noting(basicsr.train.create_train_val_dataloader)
        basicsr.train.build_model = _introducing(basicsr.train.build_model)


def _noting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> Any:
        loaders = original(opt, logger)
        opt[_NOTE] = loaders[0].dataset
        return loaders

    return create_train_val_dataloader


def _introducing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def build_model(opt: dict[str, Any]) -> Any:
        dataset = opt.pop(_NOTE, None)  # before BasicSR copies the options
        model = original(opt)
        if hasattr(dataset, "follow"):
            dataset.follow(model)
        return model

    return build_model
