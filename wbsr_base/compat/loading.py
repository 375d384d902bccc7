"""Loading a network: a file that does not fit is an error that names the file.

BasicSR logs key names and passes on whatever torch or Python raises: a `KeyError: 'params'` for a file of another
program, a bare zip error for half a file. BasicSR's loading stays; what it raises is told with file and network.
"""

from __future__ import annotations

import functools
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

_UNREADABLE = (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile)


def mend() -> None:
    """Wrap `BaseModel.load_network` once."""
    from basicsr.models.base_model import BaseModel

    if not hasattr(BaseModel.load_network, "__wrapped__"):
        BaseModel.load_network = _wrap(BaseModel.load_network)


def _wrap(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def load_network(
        self: Any, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load the parameters `param_key` of the file `load_path` into `net`, as BasicSR does.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, has no such parameters, or those of another architecture.
        """
        if not Path(load_path).is_file():
            raise FileNotFoundError(f"the network file {load_path} does not exist")
        try:
            original(self, net, load_path, strict, param_key)
        except _UNREADABLE as error:
            lines = [" ".join(line.split()) for line in str(error).splitlines() or [type(error).__name__]]
            name = type(self.get_bare_model(net)).__name__
            raise ValueError(
                f"the file {load_path} (key {param_key}) does not load into {name}: {' '.join(lines)[:400]}: "
                "it is damaged, of another architecture or of other settings of this one"
            ) from error

    return load_network
