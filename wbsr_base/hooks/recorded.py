"""Steps of BasicSR's own SRModel recorded as CUDA graphs: `train:compute: {graphs: true}`, as for our models.

`optimize_parameters` is wrapped where it is SRModel's own: its gradients, optimiser and average are recorded once and
replayed, on batches of the same size. What can't be recorded runs as ever, and the log says why.

A batch that is `CutsLater` is cut within the recording, so `feed_data` keeps it as it is. Whoever reads `lq` or `gt`
of the model before the step, or changes them, finds them cut, and the step takes those.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from wbsr_base.options import parse
from wbsr_base.protocols import CutsLater, DrawsAtRandom
from wbsr_base.recorded_step import RecordedStep
from wbsr_base.recording import CudaRecorder

Method = Callable[..., Any]
T = TypeVar("T")
_MARK = "may_be_recorded"
_UNCUT = "uncut"  # attribute of a model: the batch that its next step cuts
_FED = ("lq", "gt", "difficulty")  # attributes of a model that are its batch


@dataclass(frozen=True)
class StockComputeOptions:
    """The block `train:compute` of a stock model.

    Args:
        graphs: record the step.
    """

    graphs: bool = False


def mend() -> None:
    """Wrap the methods once."""
    from basicsr.models.base_model import BaseModel
    from basicsr.models.sr_model import SRModel

    if hasattr(SRModel.optimize_parameters, _MARK):
        return
    SRModel.lq, SRModel.gt = (_Patches(name, SRModel.feed_data) for name in ("lq", "gt"))
    SRModel.feed_data = _keeping(SRModel.feed_data)
    SRModel.init_training_settings = _preparing(SRModel.init_training_settings, SRModel)
    SRModel.optimize_parameters = _recorded(SRModel.optimize_parameters)
    BaseModel.resume_training = _forgetting(BaseModel.resume_training)
    setattr(SRModel.optimize_parameters, _MARK, True)


def recorded_step(model: Any, reason: str | None) -> RecordedStep | None:
    """Recordings for a model's steps; None, and a line in the log, where there is a reason against them.

    Args:
        model: with `device` and `optimizer_g`.
        reason: what is known against it, such as `unrecordable` returns.
    """
    from basicsr.utils import get_root_logger

    def report(text: str) -> None:
        get_root_logger().warning(f"train:compute:graphs: {text}.")

    if reason is not None:
        report(f"steps run as ever, for {reason}")
        return None
    return RecordedStep(model.optimizer_g, model.device, CudaRecorder(model.device), report)


def unrecordable(model: Any) -> str | None:
    """Why the steps of an SRModel, or a descendant, can't be recorded; None if nothing is known against it."""
    if model.device.type != "cuda":
        return f"CUDA graphs need a CUDA device, and this training runs on the {model.device.type}"
    if model.opt["dist"] or model.opt["num_gpu"] > 1:
        return "they are recorded in a training of one process on one GPU"
    if model.cri_perceptual is not None:
        return "perceptual_opt is not recorded"
    if isinstance(model.cri_pix, DrawsAtRandom) and model.cri_pix.draws:
        return "the loss draws at random by itself"
    if not all(group.get("fused") for group in model.optimizer_g.param_groups):
        return "optim_g must be fused: leave out `fused` and `foreach`"
    return None


def take_step(model: Any, key: Hashable, step: Callable[[], T]) -> T:
    """Take a step on the batch that a model was fed, by its recordings where it has any.

    Args:
        model: an SRModel or a descendant.
        key: steps of one key run the same operators, whatever the batch.
        step: takes it on the `lq` and `gt` of the model, and its `difficulty` if it has one; returns tensors, lists or
            dictionaries of them.

    Returns:
        What `step` returns. From recordings its tensors, and those of the batch, are valid until the next step.
    """
    recordings: RecordedStep | None = vars(model).get("recordings")
    if recordings is None:
        return step()
    kind, inputs, make = _fed(model)

    def on(*own: Tensor) -> tuple[dict[str, Tensor], T]:
        batch = make(*own)
        vars(model).update(batch)
        return batch, step()

    batch, result = recordings((key, kind), inputs, on)
    vars(model).update(batch)
    return result


def _fed(model: Any) -> tuple[Hashable, list[Tensor], Callable[..., dict[str, Tensor]]]:
    """What a recording takes in of the batch that a model was fed, as which kind, and what makes the batch of it."""
    uncut = vars(model).get(_UNCUT)
    if uncut is None or uncut.draws is None:
        names = tuple(name for name in _FED if getattr(model, name, None) is not None)
        return names, [getattr(model, name) for name in names], functools.partial(_named, names)
    del vars(model)[_UNCUT]
    names = tuple(name for name in _FED if vars(model).get(name) is not None)  # but for `lq` and `gt`
    inputs = [uncut.draws, *(vars(model)[name] for name in names)]
    return (uncut.cut, names), inputs, functools.partial(_cut, uncut, names)  # the kind keeps alive what is cut from


def _named(names: Sequence[str], *tensors: Tensor) -> dict[str, Tensor]:
    return dict(zip(names, tensors, strict=True))


def _cut(batch: CutsLater, names: Sequence[str], draws: Tensor, *tensors: Tensor) -> dict[str, Tensor]:
    return {**batch.cut(draws), **_named(names, *tensors)}


class _Patches:
    """`lq` or `gt` of a model: where its batch is uncut, whoever reads, sets or deletes one of them cuts it.

    Args:
        name: which of them.
        feed: BasicSR's `feed_data`, which sets both.
    """

    def __init__(self, name: str, feed: Method) -> None:
        self._name, self._feed = name, feed

    def __get__(self, model: Any, kind: type) -> Any:
        own = {} if model is None else vars(model)
        if self._name not in own and model is not None:
            self._cut(model)
        if self._name not in own:
            raise AttributeError(f"{kind.__name__} has no {self._name}: no batch that has one was fed")
        return own[self._name]

    def __set__(self, model: Any, value: Any) -> None:
        self._cut(model)
        vars(model)[self._name] = value

    def __delete__(self, model: Any) -> None:
        self.__get__(model, type(model))
        del vars(model)[self._name]

    def _cut(self, model: Any) -> None:
        batch = vars(model).pop(_UNCUT, None)
        if batch is not None:
            self._feed(model, batch)


def _keeping(original: Method) -> Method:
    @functools.wraps(original)
    def feed_data(self: Any, data: Mapping[str, Any]) -> None:
        own = vars(self)
        own.pop(_UNCUT, None)
        if own.get("recordings") is None or not isinstance(data, CutsLater):
            original(self, data)
            return
        for name in ("lq", "gt"):
            own.pop(name, None)  # of the batch before
        own[_UNCUT] = data

    return feed_data


def _preparing(original: Method, stock: type) -> Method:
    @functools.wraps(original)
    def init_training_settings(self: Any) -> None:
        is_stock = type(self).optimize_parameters is stock.optimize_parameters  # type: ignore[attr-defined]
        block = self.opt["train"].get("compute")
        options = parse(StockComputeOptions, block, "train:compute") if is_stock else StockComputeOptions()
        original(self)
        self.recordings = recorded_step(self, unrecordable(self)) if options.graphs else None

    return init_training_settings


def _recorded(original: Method) -> Method:
    @functools.wraps(original)
    def optimize_parameters(self: Any, current_iter: int) -> None:
        if vars(self).get("recordings") is None:
            original(self, current_iter)
            return

        def step() -> tuple[Tensor, Any]:
            self.output = None  # no graph of the step before, which ran on another stream
            original(self, current_iter)
            return self.output.detach(), self.log_dict

        self.output, self.log_dict = take_step(self, "step", step)

    return optimize_parameters


def _forgetting(original: Method) -> Method:
    @functools.wraps(original)
    def resume_training(self: Any, resume_state: dict[str, Any]) -> None:
        original(self, resume_state)
        if vars(self).get("recordings") is not None:
            self.recordings.forget()

    return resume_training
