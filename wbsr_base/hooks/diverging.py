"""A training whose weights are no numbers any more stops, and names the iteration and the last good checkpoint.

BasicSR logs `nan` to the end, saves every checkpoint and reports success. Methods of its models are wrapped: the losses
of a log line are looked at, and the weights before they are saved; between those the host waits for nothing. A loss
that is not finite while the weights are, as a scaled loss in half precision may be now and then, is warned of; five log
lines of that in a row end the training too.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbsr_base.errors import NotFiniteError

Method = Callable[..., Any]
_MARK = "stops_where_it_diverges"
_PATIENCE = 5  # log lines


def mend() -> None:
    """Wrap the methods once."""
    import basicsr.train
    from basicsr.models.base_model import BaseModel

    if hasattr(BaseModel.get_current_log, _MARK):
        return
    BaseModel.update_learning_rate = _noting(BaseModel.update_learning_rate)
    BaseModel.get_current_log = _looking(BaseModel.get_current_log)
    BaseModel.save_network = _refusing(BaseModel.save_network)
    basicsr.train.build_model = _placing(basicsr.train.build_model)
    setattr(BaseModel.get_current_log, _MARK, True)


def _noting(original: Method) -> Method:
    @functools.wraps(original)
    def update_learning_rate(self: Any, current_iter: int, *args: Any, **kwargs: Any) -> Any:
        self._at = current_iter
        return original(self, current_iter, *args, **kwargs)

    return update_learning_rate


def _looking(original: Method) -> Method:
    @functools.wraps(original)
    def get_current_log(self: Any) -> Any:
        losses = original(self)
        check_losses(self, losses)
        return losses

    return get_current_log


def _refusing(original: Method) -> Method:
    @functools.wraps(original)
    def save_network(self: Any, net: Any, net_label: str, current_iter: int, *args: Any, **kwargs: Any) -> Any:
        for one in net if isinstance(net, list) else [net]:
            name = not_finite(self.get_bare_model(one))
            if name is not None:
                raise NotFiniteError(
                    f"{net_label} is not saved, for its {name} is no number any more{whereabouts(self)}"
                )
        return original(self, net, net_label, current_iter, *args, **kwargs)

    return save_network


def _placing(original: Method) -> Method:
    """Say in which iteration it was that a step met numbers that are none."""

    @functools.wraps(original)
    def build_model(opt: dict[str, Any]) -> Any:
        model = original(opt)
        step = model.optimize_parameters

        def optimize_parameters(current_iter: int) -> Any:
            try:
                return step(current_iter)
            except NotFiniteError as error:
                model._at = current_iter
                raise NotFiniteError(f"{error}{whereabouts(model)}") from error

        model.optimize_parameters = optimize_parameters
        return model

    return build_model


def check_losses(model: Any, losses: Mapping[str, Any]) -> None:
    """Look at the losses of a log line.

    Raises:
        NotFiniteError: a loss is not finite, and neither are the weights, or it has not been for five lines.
    """
    wrong = {name: value for name, value in losses.items() if not math.isfinite(float(value))}
    model._astray = getattr(model, "_astray", 0) + 1 if wrong else 0
    if not wrong:
        return
    told = ", ".join(f"{name} is {float(value)}" for name, value in wrong.items())
    weights = next(filter(None, (not_finite(net) for net in _networks(model))), None)
    if weights is not None or model._astray >= _PATIENCE:
        raise NotFiniteError(f"the training went astray: {told}{whereabouts(model)}")
    logging.getLogger("basicsr").warning(
        f"{told} in iteration {getattr(model, '_at', '?')}, but all weights are finite: the training goes on"
    )


def not_finite(net: nn.Module) -> str | None:
    """The name of a weight that is not finite, or None; the host waits for the device."""
    weights = {name: weight for name, weight in net.state_dict().items() if weight.is_floating_point()}
    if not weights:
        return None
    sums = torch.stack([weight.detach().float().abs().max() for weight in weights.values() if weight.numel()])
    finite = torch.isfinite(sums).tolist()
    names = [name for name, weight in weights.items() if weight.numel()]
    return next((name for name, good in zip(names, finite, strict=True) if not good), None)


def whereabouts(model: Any) -> str:
    """The tail of an error: the iteration, and the newest checkpoint from before it."""
    at = getattr(model, "_at", None)
    place = "" if at is None else f" (iteration {at}, or one since the log line before)"
    folder = Path(str(model.opt["path"].get("training_states", "")))
    states = sorted(int(path.stem) for path in folder.glob("*.state") if path.stem.isdecimal())
    last = (
        f"the last good checkpoint is that of iteration {states[-1]}" if states else "no checkpoint is from before it"
    )
    go_on = " and go on from there by --auto_resume" if states else ""
    return f"{place}; {last}: lower train:optim_g:lr{go_on}"


def _networks(model: Any) -> list[nn.Module]:
    named = {name: value for name, value in vars(model).items() if name.startswith("net_")}
    return [model.get_bare_model(net) for net in named.values() if isinstance(net, nn.Module)]
