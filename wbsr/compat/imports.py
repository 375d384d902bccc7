"""BasicSR's own imports: a torchvision module and a standard library module that are gone.

* `basicsr.data.degradations` imports `torchvision.transforms.functional_tensor`, removed in torchvision 0.17. It uses
  one function of it, `rgb_to_grayscale`, which lives on in `torchvision.transforms.functional`.
* `basicsr.archs.arch_util` imports `distutils`, removed in Python 3.12. setuptools brings a copy and puts it in place
  when it is imported first.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types

_TENSOR_MODULE = "torchvision.transforms.functional_tensor"


def mend() -> None:
    """Provide the two modules where they are missing."""
    provide_functional_tensor()
    provide_distutils()


def provide_functional_tensor() -> None:
    """Put a module with `rgb_to_grayscale` where torchvision's was, if torchvision has none.

    Raises:
        ImportError: torchvision cannot be imported, which on most machines means that it does not match torch.
    """
    try:
        import torchvision.transforms.functional as functional
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"torchvision, which BasicSR needs, cannot be imported ({error}): install torch and torchvision together, "
            "with one pip command, so that they match"
        ) from error
    if _TENSOR_MODULE in sys.modules or importlib.util.find_spec(_TENSOR_MODULE) is not None:
        return
    stand_in = types.ModuleType(_TENSOR_MODULE, "Stand-in for a module that torchvision 0.17 removed.")
    stand_in.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[_TENSOR_MODULE] = stand_in


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
