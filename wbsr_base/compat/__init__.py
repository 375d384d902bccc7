"""BasicSR 1.4.2 on current torch, torchvision, numpy, OpenCV and Python, on CPU and on CUDA.

`install()` makes BasicSR importable, imports it, and mends what is broken. Each fault has a file of its own, which says
what is broken, how that is seen, and what takes its place; where BasicSR works, nothing is touched.
"""

from __future__ import annotations

import functools
import importlib

from wbsr_base.compat import imports

_AFTER_IMPORT = ("registry", "saving", "loading", "resume", "prefetch", "feeding", "distributed", "workers")


@functools.cache
def install() -> None:
    """Make BasicSR importable, import it and mend it, before anything else imports it; once is enough.

    Raises:
        ImportError: BasicSR is missing, or setuptools is on a Python without distutils.
    """
    imports.mend()
    importlib.import_module("basicsr")
    for name in _AFTER_IMPORT:
        importlib.import_module(f"{__name__}.{name}").mend()
