"""Loading a network: whatever key and prefix its weights have; and a file that does not fit is an error that names it.

BasicSR knows the keys `params` and `params_ema` and the prefix `module.`, logs each name that differs in a line of its
own, loads weights that are no numbers, and passes on whatever torch or Python raises for a file of another program.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

from torch import nn

from wbsr_base.weights.files import read_weights
from wbsr_base.weights.fitting import Found, find, fitting, load_into

_SHOWN = 6  # names in the line about what did not fit


def mend() -> None:
    """Replace `BaseModel.load_network`, if it knows no other keys."""
    from basicsr.models.base_model import BaseModel

    if "load_net[param_key]" in inspect.getsource(BaseModel.load_network):
        BaseModel.load_network = load_network


def load_network(
    self: Any, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
) -> None:
    """Load the weights of a file into a network, as BasicSR does where the file is BasicSR's.

    Args:
        self: the model.
        net: the network, maybe wrapped for several devices.
        load_path: a `.pth` or safetensors file.
        strict: refuse weights that differ; otherwise what fits by name and shape is loaded, and the rest is logged in
            one line.
        param_key: the key they stand under; where `params` or `params_ema` is not there, another that fits.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, has no such key, holds weights that are not finite, or those of another
            architecture.
    """
    logger = logging.getLogger("basicsr")
    net = self.get_bare_model(net)
    found = find(read_weights(load_path), net.state_dict(), load_path, param_key)
    differ = load_into(net, found, load_path, strict)
    at = f"key {found.key}" if found.key else "no key"
    prefix = f", without the prefix {found.prefix}" if found.prefix else ""
    logger.info(f"Loading {type(net).__name__} model from {load_path}, with {at}{prefix}.")
    if differ:
        loaded, total = len(fitting(found, net.state_dict())), len(net.state_dict())
        more = f", and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
        logger.warning(
            f"{load_path}: {loaded} of the network's {total} weights were loaded, for strict_load is off; what did not "
            f"fit: {'; '.join(differ[:_SHOWN])}{more}"
        )
        if net is getattr(self, "net_g_ema", None):
            _begin_average(net, self.get_bare_model(self.net_g), found)


def _begin_average(average: nn.Module, net: nn.Module, found: Found) -> None:
    """Let what was not loaded of a moving average begin as the network begins; BasicSR draws it anew."""
    loaded = fitting(found, average.state_dict())
    average.load_state_dict({k: weight for k, weight in net.state_dict().items() if k not in loaded}, strict=False)
