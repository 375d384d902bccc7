"""Calls that take turns, so that what else the machine does slows all of them, and how long each takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wbsr_base.devices import seconds_at

Call = Callable[[], object]
Turns = NDArray[np.float64]  # milliseconds of one call in each turn


@dataclass
class Clock:
    """Milliseconds of calls, by a clock of seconds, once the device is done."""

    seconds: Callable[[], float]
    device: torch.device

    def run(self, calls: Mapping[str, Call], repeats: int, warm_up: bool = True) -> dict[str, Turns]:
        """The times of each call in `repeats` turns, after one more that warms up."""
        times: dict[str, list[float]] = {name: [] for name in calls}
        with tqdm(total=(repeats + warm_up) * len(calls), desc="calls", leave=False) as bar:
            for _ in range(repeats + warm_up):
                for name, call in calls.items():
                    start = self.now()
                    call()
                    times[name].append(self.now() - start)
                    bar.update()
        return {name: np.array(values[warm_up:]) for name, values in times.items()}

    def now(self) -> float:
        """Milliseconds, from any beginning."""
        return 1000 * seconds_at(self.device, self.seconds)
