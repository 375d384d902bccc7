"""A training step of BasicSR's models that never waits for the device, and launches few operators of its own.

BasicSR reads every loss back at every step, moves each batch by a copy that waits, and takes the moving average tensor
by tensor. Methods of its models are wrapped: losses stay on the device until the log line asks for them
(`get_current_log`, which all processes call together), batches are copied while the host goes on, and the average takes
all tensors at once. Every number stays what it was, to the last bit.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Method = Callable[..., Any]
_MARK = "waits_for_nothing"


class Pending(OrderedDict[str, Tensor]):
    """The losses of a step, still on the device."""


def mend() -> None:
    """Wrap the methods once."""
    from basicsr.models.base_model import BaseModel
    from basicsr.models.sr_model import SRModel

    if hasattr(BaseModel.reduce_loss_dict, _MARK):
        return
    read = BaseModel.reduce_loss_dict
    BaseModel.get_current_log = _reading(BaseModel.get_current_log, read)
    BaseModel.reduce_loss_dict = functools.wraps(read)(_keep)
    BaseModel.model_ema = functools.wraps(BaseModel.model_ema)(_follow)
    SRModel.feed_data = _sending(SRModel.feed_data)
    setattr(BaseModel.reduce_loss_dict, _MARK, True)


def _keep(self: Any, loss_dict: Mapping[str, Tensor]) -> Pending:
    return Pending((name, loss.detach()) for name, loss in loss_dict.items())


def _reading(original: Method, read: Method) -> Method:
    @functools.wraps(original)
    def get_current_log(self: Any) -> Any:
        losses = original(self)
        return read(self, losses) if isinstance(losses, Pending) else losses

    return get_current_log


@torch.no_grad()
def _follow(self: Any, decay: float = 0.999) -> None:
    averages, weights = _columns(self, self.net_g_ema, self.get_bare_model(self.net_g))
    if averages:
        torch._foreach_mul_(averages, decay)
        torch._foreach_add_(averages, weights, alpha=1 - decay)


def _columns(model: Any, average: Any, network: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The averages and the weights they follow, looked up once: a deep network has thousands of names."""
    known = vars(model).get("_averaged")
    if known is None or known[0] is not average or known[1] is not network:
        weights = dict(network.named_parameters())
        pairs = [(own, weights[name]) for name, own in average.named_parameters()]
        known = model._averaged = (average, network, [own for own, _ in pairs], [weight for _, weight in pairs])
    return known[2], known[3]


def _sending(original: Method) -> Method:
    @functools.wraps(original)
    def feed_data(self: Any, data: Mapping[str, Any]) -> None:
        sent = {key: data[key].to(self.device, non_blocking=True) for key in ("lq", "gt") if key in data}
        original(self, {**data, **sent})

    return feed_data
