"""BasicSR's own imports: modules of torchvision, SciPy and the standard library that are gone, or going.

* `basicsr.data.degradations` imports `torchvision.transforms.functional_tensor`, removed in torchvision 0.17, for
  `rgb_to_grayscale`; `basicsr.metrics.niqe` imports `scipy.ndimage.filters`, to go in SciPy 2.0, for `convolve`. Both
  functions live on one level up.
* `basicsr.archs.arch_util` imports `distutils`, removed in Python 3.12. setuptools brings a copy and puts it in place
  when it is imported first.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types

MOVED = {  # the module that BasicSR imports: (where its function lives now, the function)
    "torchvision.transforms.functional_tensor": ("torchvision.transforms.functional", "rgb_to_grayscale"),
    "scipy.ndimage.filters": ("scipy.ndimage", "convolve"),
}


def mend() -> None:
    """Provide the modules that are missing."""
    for module in MOVED:
        provide_moved(module)
    provide_distutils()


def provide_moved(module: str) -> None:
    """Put a module that holds the moved function where `module` was, if there is none.

    Raises:
        ImportError: the package itself cannot be imported; for torchvision mostly a mismatch with torch.
    """
    home, function = MOVED[module]
    try:
        moved = getattr(importlib.import_module(home), function)
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"{home}, which BasicSR needs, cannot be imported ({error}): install torch and torchvision together, with "
            "one pip command, so that they match"
        ) from error
    if module in sys.modules or importlib.util.find_spec(module) is not None:
        return
    stand_in = types.ModuleType(module, f"Stand-in for a module that is gone: {function} of {home}.")
    setattr(stand_in, function, moved)
    sys.modules[module] = stand_in


def provide_distutils() -> None:
    """Let setuptools supply `distutils` on a Python that has none.

    Raises:
        ImportError: neither distutils nor setuptools is installed.
    """
    if importlib.util.find_spec("distutils") is not None:
        return
    try:
        importlib.import_module("setuptools")
        importlib.import_module("distutils.version")
    except ImportError as error:
        raise ImportError(
            f"BasicSR imports distutils, which Python {sys.version_info.major}.{sys.version_info.minor} no longer has: "
            "`pip install setuptools` brings it back"
        ) from error
