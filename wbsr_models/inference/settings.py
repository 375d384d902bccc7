"""All that a user may set of the engine, as one object that is handed on whole.

A setting is written here, with its line of help; option files, commands and the schema find it here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from wbsr_base.precision import Precision, canonical

# LR pixels: the least that cost at most 0.01 dB and leave a mean seam within 0.02 of 1, see docs/findings/tiles.md
TILE_HALO, WINDOW_HALO = 2, 4
SMALL_SCALE, SMALL_SCALE_HALO = 3, 3  # around tiles up to this scale

CanvasDevice = Literal["auto", "cpu", "same"]
PlanKind = Literal["auto", "tiles", "windows", "dense"]
Capture = Literal["auto", "none", "graphs", "compile"]


@dataclass(frozen=True)
class EngineSettings:
    """How dynamic inference computes.

    Args:
        plan: `tiles` of neighbouring patches that share a subnet; `windows` of one shape, which take few network calls;
            `dense`, the whole image in one go, or in bands that fit into the memory, by a subnet as large as any patch
            needs; or `auto`, the one that is predicted to be fastest: no patch gets a smaller subnet than it was routed
            to under any of them.
        halo: LR pixels of real surroundings that every tile or window reads; by default 2 around
            tiles, below x4 3, whose borders fade into one another, and 4 around windows, whose borders do not.
        max_tile: largest side of a joined tile in LR pixels.
        precision: number format of the networks: `fp32`, `bf16`, which is fast on CPUs that know it, or `fp16`, on GPUs
            alone.
        memory_mb: MB for batches and result together; by default half of what is free on the device, on a GPU at
            most 3,072, on a CPU at most 384, or 96 for each thread, beside the result.
        batch_pixels: LR pixels of one batch, halos counted; by default what keeps the device busy.
        canvas_device: where the result lies: `same` as the image, `cpu`, or `auto`: the CPU if the result would take
            more than half of the memory.
        capture: how a network's operators are started: one by one (`none`), together as `graphs` of CUDA, where
            batches have one shape, or compiled by torch (`compile`), which takes long at first and is slower on a CPU;
            `auto`: as graphs where they were measured to be faster.
        self_ensemble: take the mean over eight flips and turns, at eight times the cost.

    Raises:
        ValueError: an unknown word, or a number out of its range.
    """

    plan: PlanKind = "auto"
    halo: int | None = None
    max_tile: int = 256
    precision: Precision = "fp32"
    memory_mb: float | None = None
    batch_pixels: int | None = None
    canvas_device: CanvasDevice = "auto"
    capture: Capture = "auto"
    self_ensemble: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", canonical(self.precision))
        for name, kind in (("plan", PlanKind), ("canvas_device", CanvasDevice), ("capture", Capture)):
            words = get_args(kind)
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}, got {getattr(self, name)!r}")
        for name, least in (("halo", 0), ("max_tile", 1), ("batch_pixels", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= least):
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
        if self.memory_mb is not None and not (self.memory_mb > 0 and math.isfinite(self.memory_mb)):
            raise ValueError(f"memory_mb must be above 0, got {self.memory_mb}")

    def tile_halo(self, scale: int) -> int:
        """LR pixels around a tile of a network that upscales by `scale`."""
        if self.halo is not None:
            return self.halo
        return SMALL_SCALE_HALO if scale <= SMALL_SCALE else TILE_HALO

    @property
    def window_halo(self) -> int:
        """LR pixels around a window."""
        return WINDOW_HALO if self.halo is None else self.halo
