"""Looking up a type that does not exist.

BasicSR's registries print that they use another name, which they then don't have either, and name no known one. Here
the error lists the known names and the nearest.
"""

from __future__ import annotations

import inspect
from typing import Any

from wbsr_base.options import suggest


def mend() -> None:
    """Replace `Registry.get`, if it prints."""
    from basicsr.utils.registry import Registry

    if "print(" in inspect.getsource(Registry.get):
        Registry.get = get


def get(self: Any, name: str, suffix: str = "basicsr") -> Any:
    """The object registered as `name`, or as `name_suffix`.

    Raises:
        KeyError: there is none; the error names the nearest, and all.
    """
    for key in (name, f"{name}_{suffix}"):
        if key in self:
            return self._obj_map[key]
    raise KeyError(f"no {self._name} is called {name!r}{suggest(str(name), self.keys())}")
