"""What routing decides, and by which numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Choice = NDArray[np.int64]  # (rows, cols), the number of each patch's subnet in order of FLOPs, counted from 0
Scores = NDArray[np.float32]  # (rows, cols) of the patches, or (rows, cols, M) where a classifier speaks

NO_SUBNET = -1  # the number of no subnet at all: the patch is interpolated
