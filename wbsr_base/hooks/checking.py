"""Losses that find out later what went wrong, asked when somebody looks: at a log line, and before anything is saved.

BasicSR's models read the losses they log, and write checkpoints, by three methods of `BaseModel`, which are wrapped:
modules of the model that are `wbsr_base.protocols.ChecksLater` are checked first. So a training that went astray ends
with the error of its first bad step, and leaves no checkpoint from after it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from wbsr_base.errors import NotFiniteError
from wbsr_base.hooks.diverging import whereabouts
from wbsr_base.protocols import ChecksLater

_METHODS = ("get_current_log", "save_network", "save_training_state")
_MARK = "checks_losses"


def mend() -> None:
    """Wrap the methods once."""
    from basicsr.models.base_model import BaseModel

    for name in _METHODS:
        method = getattr(BaseModel, name)
        if not hasattr(method, _MARK):
            setattr(BaseModel, name, _checking(method))


def check_losses(model: object) -> None:
    """Let every loss of a model raise what it noted.

    Raises:
        ValueError: what a loss says.
    """
    for attribute in vars(model).values():
        if isinstance(attribute, nn.Module) and isinstance(attribute, ChecksLater):
            attribute.check()


def _checking(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            check_losses(self)
        except NotFiniteError as error:
            raise NotFiniteError(f"{error}{whereabouts(self)}") from error
        return method(self, *args, **kwargs)

    setattr(checked, _MARK, True)
    return checked
