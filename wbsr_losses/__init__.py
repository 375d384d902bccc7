"""The Balanced Diversity Loss of WBSR (Eq. 9-14), and the mixture of HR values it balances by.

    gaussian_density, laplace_density   log-densities of a mixture under noise, with their gradients
    mixture, mixture_file               the mixture as buffers, and as a file
    residual, texture                   what is balanced beside pixel values
    pixels, fit                         the mixture fitted to a folder of HR images
    functional, importance              the losses as pure functions, and as weights
    densities, tabulated                what they ask of the mixture, worked out once
    finite                              which number made a loss NaN or infinite
    bd_loss, options                    `BDLoss`, registered with BasicSR

Importing this package inside a BasicSR program registers `BDLoss`; otherwise nothing heavy is loaded until it is used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbsr_losses.bd_loss import BDLoss
    from wbsr_losses.fit import fit_mixture
    from wbsr_losses.mixture import GaussianMixture

__all__ = ["BDLoss", "GaussianMixture", "fit_mixture"]

_HOMES = {"BDLoss": "bd_loss", "GaussianMixture": "mixture", "fit_mixture": "fit"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


if "basicsr" in sys.modules:
    importlib.import_module(f"{__name__}.bd_loss")
