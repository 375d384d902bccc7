"""Training sets that learn from the training: `FollowsTraining`.

BasicSR builds the loaders, then the model, and neither learns of the other. `create_train_val_dataloader` and
`build_model` are wrapped: where the training set follows, the class of the model that is built gets `_Followed` before
it, which tells the set of each step, keeps its entries in the training states, and hands them back on a resume.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wbsr_base.protocols import AddsToTrainingState, FollowsTraining

if TYPE_CHECKING:
    from basicsr.models.sr_model import SRModel as Model
else:
    Model = object  # a model's own class takes this place

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
        if isinstance(dataset, FollowsTraining):
            follow(dataset, model)
        return model

    return build_model


def follow(dataset: FollowsTraining, model: Any) -> None:
    """Let a training set follow the steps that `model` is about to take, and keep its state with the model's.

    Args:
        dataset: is told.
        model: an `SRModel` of BasicSR or a descendant, which leaves `output` and `gt` of a step as that does.

    Raises:
        ValueError: another model, whose outputs are found nowhere.
    """
    from basicsr.models.sr_model import SRModel

    kind = type(model)
    if not isinstance(model, SRModel):
        raise ValueError(
            f"a training set of type {type(dataset).__name__} needs a model that keeps `output` and `gt` of a step, "
            f"such as WBSRModel or SRModel, got {kind.__name__}: set model_type to one of them, or take another "
            "datasets:train:type"
        )
    model.follower, model.own_extras = dataset, isinstance(model, AddsToTrainingState)
    model.__class__ = type(kind.__name__, (_Followed, kind), {})


class _Followed(Model):
    """What comes before the class of a model that is followed."""

    follower: FollowsTraining
    own_extras: bool  # whether the model's class has any
    fed: Mapping[str, Any]

    def feed_data(self, data: Mapping[str, Any]) -> None:
        self.fed = data
        super().feed_data(data)

    def optimize_parameters(self, current_iter: int) -> None:
        super().optimize_parameters(current_iter)
        self.follower.observe(self.output, self.gt, self.fed, current_iter)

    def training_extras(self) -> dict[str, Any]:
        extras = super().training_extras() if self.own_extras else {}
        return {**extras, **self.follower.training_extras()}

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        super().resume_training(resume_state)
        self.follower.resume_training(resume_state)
