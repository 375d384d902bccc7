"""Places in BasicSR's training loop where a data set or a model takes part; `wbsr_base.protocols` says how.

order       a training set draws its own order
following   a training set follows the model
checking    a loss says later what went wrong
waiting     no step waits for the device
kernels     the optimiser computes by one kernel where it can
recorded    steps are recorded once and replayed, where that is asked for
resuming    a resumed training follows the option file, and losses go on with their state
diverging   a training whose weights are no numbers any more stops
"""

from __future__ import annotations

import functools

from wbsr_base.hooks import checking, diverging, following, kernels, order, recorded, resuming, waiting


@functools.cache
def install() -> None:
    """Put the hooks in place, once BasicSR is mended; once is enough."""
    order.mend()
    following.mend()
    waiting.mend()
    kernels.mend()
    recorded.mend()
    resuming.mend()
    diverging.mend()
    checking.mend()  # last: what a loss says of itself comes first
