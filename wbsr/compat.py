"""BasicSR mended, for programs that start its pipelines themselves: call `install()` before it is first imported."""

from __future__ import annotations

import importlib


def install() -> None:
    """Make BasicSR importable, import it, mend it, and hook into its training; once is enough.

    Raises:
        ImportError: BasicSR is missing, or setuptools is on a Python without distutils.
    """
    importlib.import_module("wbsr_base.basicsr")
